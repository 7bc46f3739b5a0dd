package product

import (
	"strings"
	"testing"
)

func TestPrefect3(t *testing.T) {
	objects, err := Prefect3("there", "prefect-keda-prefect3:1")
	if err != nil {
		t.Fatal(err)
	}
	images := 0
	for _, o := range objects {
		if o.GetNamespace() != "there" {
			t.Errorf("%s %s is in namespace %q", o.GetKind(), o.GetName(), o.GetNamespace())
		}
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		images += strings.Count(string(text), `"image":"prefect-keda-prefect3:1"`)
	}
	if len(objects) != 5 || images != 2 {
		t.Errorf("%d objects with %d images, want 5 and 2", len(objects), images)
	}
	if s := AuthString(); strings.Count(s, ":") != 2 {
		t.Errorf("the auth string is %q", s)
	}
}
