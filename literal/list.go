package literal

import (
	"fmt"
	"strings"
)

const listForm = "give a list such as ['a', 'b'] or a,b"

// List reads a list of texts: Python's or JSON's form, or names separated by commas,
// with or without spaces. Here we differ from the agent, which took the text a,b for the
// three labels "a", "," and "b" (prefect1 §3.1); nobody can want that. An empty text,
// None, null and empty quotes give nil; the caller decides about other empty lists.
func List(text string) ([]string, error) {
	t := strings.TrimSpace(text)
	if t == "" || t == `""` || t == `''` || Word(t).IsNone() {
		return nil, nil
	}
	var all []string
	if !strings.ContainsAny(t, `[](){}'"`) {
		for name := range strings.SplitSeq(t, ",") {
			all = append(all, strings.TrimSpace(name))
		}
		return all, nil
	}
	if strings.ContainsAny(t[:1], `'"`) { // 'a', 'b' is a tuple to Python
		t = "[" + t + "]"
	}
	v, err := Parse(t)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, listForm)
	}
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a list: %s", t, listForm)
	}
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%v is not a text: put every text of a list in quotes, as in ['a', 'b']", item)
		}
		all = append(all, text)
	}
	return all, nil
}
