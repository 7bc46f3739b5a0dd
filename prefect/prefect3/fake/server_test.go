package fake_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func TestWrongSlashesAreRedirected(t *testing.T) {
	s := newStand(t, fake.Options{})
	for _, c := range []struct {
		method, path string
		status       int
		location     string
	}{
		{"POST", "/logs", 307, "http://prefect/api/logs/"},
		{"POST", "/work_pools/a%20b/queues/", 307, "http://prefect/api/work_pools/a%20b/queues"},
		{"POST", "/flow_runs/filter/", 307, "http://prefect/api/flow_runs/filter"},
		{"PUT", "/flow_runs/filter", 405, ""},
		{"GET", "/nowhere", 404, ""},
	} {
		resp, _ := s.send(c.method, c.path, nil)
		if resp.StatusCode != c.status || resp.Header.Get("Location") != c.location {
			t.Errorf("%s %s: %d to %q", c.method, c.path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

func TestAuthentication(t *testing.T) {
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, c := range []struct {
		name    string
		options fake.Options
		header  string
		status  int
	}{
		{"right", fake.Options{AuthString: "u:p:q"}, basic("u:p:q"), 200},
		{"wrong", fake.Options{AuthString: "u:p"}, basic("u:q"), 401},
		{"none", fake.Options{AuthString: "u:p"}, "", 401},
		{"not ASCII", fake.Options{AuthString: "u:p"}, basic("u:ö"), 500},
		{"before there were any", fake.Options{AuthString: "u:p", Version: "3.1.7"}, "", 200},
		{"key", fake.Options{Key: "k"}, "Bearer k", 200},
		{"wrong key", fake.Options{Key: "k"}, "Bearer l", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, c.options)
			s.header.Set("Authorization", c.header)
			if status, _ := s.call("GET", "/version", nil); status != c.status {
				t.Error(status)
			}
			s.header.Del("Authorization")
			if status, _ := s.call("GET", "/ready", nil); status != 200 {
				t.Error("/ready:", status)
			}
		})
	}
}

func TestCSRF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{CSRF: true})
		count := func() any {
			status, v := s.call("POST", "/flow_runs/count", fields{})
			if status == http.StatusOK {
				return "ok"
			}
			return v.(fields)["detail"]
		}
		token := func() string { return s.ok("GET", "/csrf-token?client="+one, nil).(fields)["token"].(string) }
		if got := count(); got != "Missing CSRF token." {
			t.Error(got)
		}
		s.header.Set("Prefect-Csrf-Token", token())
		if got := count(); got != "Missing client identifier." {
			t.Error(got)
		}
		s.header.Set("Prefect-Csrf-Client", one)
		if got := count(); got != "ok" {
			t.Error(got)
		}
		newer := token()
		if got := count(); got != "Invalid CSRF token or client identifier." {
			t.Error("after another was fetched:", got)
		}
		s.header.Set("Prefect-Csrf-Token", newer)
		time.Sleep(time.Hour)
		if got := count(); got != "Invalid CSRF token or client identifier." {
			t.Error("after an hour:", got)
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		id := s.CreateRuns(fake.Order{Pool: "p"})[0]
		const route = "POST /flow_runs/{id}/set_state"
		body := fields{"state": fields{"type": "PENDING", "state_details": fields{"transition_id": one}}}
		s.Break(fake.Fault{Route: route, Times: 1, Status: 503, RetryAfter: "0.5"})
		resp, text := s.send("POST", "/flow_runs/"+id+"/set_state", body)
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "0.5" || string(text) != `{"exception_message":"Service Unavailable"}` {
			t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
		}
		s.Break(fake.Fault{Route: route, Times: 1, Drop: true})
		if _, err := s.try("POST", "/flow_runs/"+id+"/set_state", body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error("a lost request:", err)
		}
		if got := s.Runs(id)[0].Type; got != "SCHEDULED" {
			t.Error("a lost request did", got)
		}
		s.Break(fake.Fault{Route: route, Times: 1, Drop: true, After: true, Delay: time.Second})
		began := time.Now()
		if _, err := s.try("POST", "/flow_runs/"+id+"/set_state", body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error("a lost answer:", err)
		}
		if got := s.Runs(id)[0].Type; got != "PENDING" || time.Since(began) != time.Second {
			t.Error("a lost answer did", got, "after", time.Since(began))
		}
		if got := s.claim(id, one); got != "REJECT" {
			t.Error("the same again:", got)
		}
		if n := s.Counts()[route]; n != 4 {
			t.Error(n, "requests")
		}
	})
}

func TestOlderServers(t *testing.T) {
	s := newStand(t, fake.Options{Version: "2.20.26"})
	d := s.CreateDeployment(fake.Deployment{Pool: "p", JobVariables: fields{"image": "i", "labels": fields{"a": "b"}}, Limit: new(1)})
	row := s.ok("GET", "/deployments/"+d, nil).(fields)
	if row["infra_overrides"].(fields)["labels"] == nil || row["job_variables"] != nil || row["global_concurrency_limit"] != nil {
		t.Error(row)
	}
	id := s.CreateRuns(fake.Order{Deployment: d})[0]
	if status, _ := s.call("PATCH", "/flow_runs/"+id+"/labels", fields{"a": "b"}); status != 404 {
		t.Error("labels:", status)
	}
	if got := s.claim(id, one); got != "ACCEPT" {
		t.Error(got)
	}
	v := s.ok("POST", "/flow_runs/"+id+"/set_state", fields{"state": fields{"type": "PENDING", "name": "InfrastructurePending"}}).(fields)
	if v["status"] != "ABORT" {
		t.Error("another name:", v)
	}
}
