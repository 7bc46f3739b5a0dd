package product

import (
	_ "embed"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// What prefect3.yaml names.
const (
	Server = "prefect-server"
	// AuthSecret has the server's auth string under AuthKey.
	AuthSecret = "prefect-api-key"
	AuthKey    = "auth-string"
)

//go:embed prefect3.yaml
var prefect3 string

// Prefect3 is the real Prefect 3 server with its database, in a namespace.
func Prefect3(namespace, image string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for i, text := range strings.Split(strings.ReplaceAll(prefect3, "image: prefect3\n", "image: "+image+"\n"), "\n---\n") {
		o := &unstructured.Unstructured{}
		object, err := yaml.YAMLToJSON([]byte(text))
		if err == nil {
			err = o.UnmarshalJSON(object)
		}
		if err != nil {
			return nil, fmt.Errorf("read object %d of prefect3.yaml: %w", i+1, err)
		}
		o.SetNamespace(namespace)
		objects = append(objects, o)
	}
	return objects, nil
}

// AuthSecrets are the Secret with the server's auth string, for other namespaces.
func AuthSecrets(namespaces ...string) []*unstructured.Unstructured {
	var secrets []*unstructured.Unstructured
	for _, namespace := range namespaces {
		objects, err := Prefect3(namespace, "")
		if err != nil {
			panic(err) // a file of ours
		}
		secrets = append(secrets, objects[0])
	}
	return secrets
}

// AuthString is what the Secret holds.
func AuthString() string {
	text, _, _ := unstructured.NestedString(AuthSecrets("")[0].Object, "stringData", AuthKey)
	return text
}

// Prefect3URL is the API of a namespace's server, for pods.
func Prefect3URL(namespace string) string {
	return fmt.Sprintf("http://%s.%s.svc:4200/api", Server, namespace)
}
