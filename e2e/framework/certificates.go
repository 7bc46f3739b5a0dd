package framework

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// Certificates adds the two Secrets that the hardened overlay asks for, both
// signed by a CA made for it.
func Certificates() Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		first := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Namespace" })
		namespace := objects[slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == "Service" && o.GetName() == product.Scaler
		})].GetNamespace()
		ca := newAuthority()
		secret := func(name, certificateFor string, more map[string][]byte) *unstructured.Unstructured {
			data := ca.sign(certificateFor)
			maps.Copy(data, more)
			o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Secret{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
				ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
				Data:       data,
			})
			if err != nil {
				panic(err) // a type of ours
			}
			return &unstructured.Unstructured{Object: o}
		}
		return slices.Insert(objects, first,
			secret("prefect-keda-scaler-tls", product.Scaler+"."+namespace+".svc", map[string][]byte{"ca.crt": ca.pem}),
			secret("prefect-keda-scaler-client-tls", "keda", nil),
		)
	}
}

// authority signs certificates for an hour.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pem         []byte
}

func newAuthority() authority {
	template := validForAnHour("a CA of the test")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return authority{key, must(x509.ParseCertificate(der)), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// sign is the content of a TLS Secret.
func (a authority) sign(name string) map[string][]byte {
	template := validForAnHour(name)
	template.DNSNames, template.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key))
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}),
	}
}

func validForAnHour(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// must panics on errors that only a broken source of randomness causes.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
