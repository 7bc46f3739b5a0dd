package collect

import (
	"context"
	"encoding/json"
	"testing"
	"time"
)

// Whoever answers at the scaler's address, it is a page, or people are told that it is not.
func FuzzPage(f *testing.F) {
	f.Add(`{"scaled_objects": [{"namespace": "keda", "name": "l", "connection": "default", "labels": ["gpu"], "warm_up_lead": "10s", "open_streams": 1}], "refused": []}`)
	f.Add(`{"scaled_objects": [{"connection": "default", "work_pools": [null], "warm_up_lead": "x"}, {"connection": "other"}]}`)
	f.Add(`{"scaled_objects": null}`)
	f.Add(`{"scaled_objects": {}}`)
	f.Add(`<html>`)
	f.Fuzz(func(t *testing.T, text string) {
		c := &collector{Options: Options{Connection: "default", Timeout: time.Minute, Scaler: func(context.Context) ([]byte, error) { return []byte(text), nil }}}
		c.scaler(t.Context())
		if told := len(c.facts.Unread) > 0; told == c.facts.Asked {
			t.Fatalf("asked %v, and told of: %v", c.facts.Asked, c.facts.Unread)
		}
		var plain struct {
			Objects []struct {
				Connection string
			} `json:"scaled_objects"`
		}
		if !c.facts.Asked || json.Unmarshal([]byte(text), &plain) != nil {
			return
		}
		want := 0
		for _, o := range plain.Objects {
			if o.Connection == "default" {
				want++
			}
		}
		if len(c.facts.Serving) != want {
			t.Fatalf("%d objects of the connection, %d are shown", want, len(c.facts.Serving))
		}
	})
}
