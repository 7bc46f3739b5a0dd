package framework

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/prefect-keda/prefect-keda/e2e/certificates"
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
		ca := certificates.NewAuthority()
		secret := func(name, certificateFor string, more map[string][]byte) *unstructured.Unstructured {
			cert, key := ca.Sign(certificateFor)
			data := map[string][]byte{"tls.crt": cert, "tls.key": key}
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
			secret("prefect-keda-scaler-tls", product.Scaler+"."+namespace+".svc", map[string][]byte{"ca.crt": ca.PEM}),
			secret("prefect-keda-scaler-client-tls", "keda", nil),
		)
	}
}
