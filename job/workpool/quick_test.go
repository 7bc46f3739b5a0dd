package workpool

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What is quick for most texts must not be another answer.

func TestKeysAreQualifiedAsKubernetesHasIt(t *testing.T) {
	for _, key := range []string{
		"prefect.io/flow-id", "app.kubernetes.io/part-of", "a/b", "a.b-c/D_e.f", "plain", "a/", "/a", "a/b/c", "a..b/c", "a.-b/c", "a-.b/c", "A.b/c", ".a/b", "a./b", "a/.b", "a/b_", "a_b/c", "é/a",
	} {
		if is, want := isQualified(key), len(validation.IsQualifiedName(key)) == 0; is != want {
			t.Errorf("%q: %t, want %t", key, is, want)
		}
	}
}

func TestPlainPlaceholdersAreThoseOfTheExpression(t *testing.T) {
	plain := 0
	for _, text := range []string{
		"{{ name }}", "{{ prefect.blocks.a.b_1 }}", "{{ a }} {{ b }}", "{{ a }}-", "{{a}}", "{{  a }}", "{{ }}", "{{  }}", "{{ a b }}", "{{ a}}b }}", "x{{ a }}", "{{ a", "{{ é }}", "",
	} {
		name, ok := plainly(text)
		if !ok {
			continue
		}
		plain++
		if m := placeholder().FindStringSubmatch(text); len(m) != 2 || m[0] != text || m[1] != name {
			t.Errorf("%q: %q, but the expression has %q", text, name, m)
		}
	}
	if plain != 2 {
		t.Errorf("%d are plain, want 2", plain)
	}
}

func TestTextsAreWrittenAsJSON(t *testing.T) {
	for _, text := range []string{"", "plain text", `a"b`, `a\b`, "a\nb", "é<>&", "\x00\x7f", "\xff"} {
		written, err := appendText([]byte("x"), text)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(text)
		var is, should string
		if err := json.Unmarshal(written[1:], &is); err != nil || json.Unmarshal(want, &should) != nil || is != should {
			t.Errorf("%q: %s, want %s (%v)", text, written[1:], want, err)
		}
	}
}

// An object is the same with few fields and with many.
func TestFewAndManyFields(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	o, names, fields := newObject(), []string{}, map[string]*value{}
	for range 10_000 {
		name := strconv.Itoa(random.IntN(3 * maxFew))
		if random.IntN(2*len(names)+1) < maxFew {
			if fields[name] == nil {
				names = append(names, name)
			}
			fields[name] = &value{}
			o.set(name, fields[name])
		} else {
			o.remove(name)
			delete(fields, name)
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		}
		if random.IntN(10) == 0 {
			o = o.clone()
		}
		n := random.IntN(len(names) + 1)
		for _, is := range []*object{o, o.first(n)} {
			want := names[:min(is.len(), len(names))]
			if is != o && is.len() != n {
				t.Fatalf("the first %d fields are %d", n, is.len())
			}
			var got []string
			for name, v := range is.all() {
				if got = append(got, name); v != fields[name] || is.get(name) != v || !is.has(name) {
					t.Fatalf("%s is another field", name)
				}
			}
			if !slices.Equal(got, want) || is == o && o.len() != len(names) {
				t.Fatalf("fields are %v, want %v", got, want)
			}
		}
		if o.has("none") || o.get("none") != nil {
			t.Fatal("there is a field that nobody set")
		}
	}
}
