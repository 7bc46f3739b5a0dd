package servertest

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// conventions is how the API answers besides.
func conventions(s *suite) {
	s.spellings()
	s.pools()
	s.afterTheClaim()
	s.bundle()
	if v := s.ok(http.MethodGet, "/admin/version", nil); v != s.Version {
		s.Error("version:", v, "want", s.Version)
	}
	if status, v := s.call(http.MethodGet, "/csrf-token?client="+uuid(), nil); status != http.StatusUnprocessableEntity {
		s.Error("a token where none is needed:", status, v)
	}
}

func (s *suite) spellings() {
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/logs", http.StatusTemporaryRedirect},
		{http.MethodPost, "/flow_runs/filter/", http.StatusTemporaryRedirect},
		{http.MethodPost, "/work_pools/" + s.pool + "/queues/", http.StatusTemporaryRedirect},
		{http.MethodPut, "/flow_runs/filter", http.StatusMethodNotAllowed},
		{http.MethodGet, "/nowhere", http.StatusNotFound},
		{http.MethodGet, "/flow_runs/" + uuid(), http.StatusNotFound},
		{http.MethodGet, "/deployments/" + uuid(), http.StatusNotFound},
		{http.MethodGet, "/flows/" + uuid(), http.StatusNotFound},
		{http.MethodGet, "/flows/" + s.flow, http.StatusOK},
		{http.MethodGet, "/variables/name/nope", http.StatusNotFound},
		{http.MethodGet, "/block_documents/" + uuid(), http.StatusNotFound},
		{http.MethodGet, "/block_types/slug/secret/block_documents/name/nope?include_secrets=true", http.StatusNotFound},
		{http.MethodGet, "/health", http.StatusOK},
		{http.MethodGet, "/ready", http.StatusOK},
	} {
		resp, _ := s.send(c.method, c.path, object{}) //nolint:bodyclose // send has closed it
		if resp.StatusCode != c.want {
			s.Errorf("%s %s: %d, want %d", c.method, c.path, resp.StatusCode, c.want)
		}
		if to := resp.Header.Get("Location"); c.want == http.StatusTemporaryRedirect {
			if at, err := url.Parse(to); err != nil || strings.Trim(at.Path, "/") == strings.Trim(c.path, "/") || !strings.HasPrefix(at.Path, "/api/") {
				s.Errorf("%s %s leads to %q", c.method, c.path, to)
			}
		}
	}
}

func (s *suite) pools() {
	name := "My Pool Größe " + s.tag
	path := "/work_pools/" + url.PathEscape(name)
	body := object{"name": name, "type": "kubernetes"}
	if status, v := s.call(http.MethodGet, path, nil); status != http.StatusNotFound || v.(object)["detail"] != `Work pool "`+name+`" not found.` {
		s.Error("a pool that is not there:", status, v)
	}
	created := s.ok(http.MethodPost, "/work_pools/", body).(object)
	if created["status"] != "NOT_READY" || created["is_paused"] != false || created["concurrency_limit"] != nil || len(created["base_job_template"].(object)) != 0 {
		s.Error("a new pool:", created)
	}
	if status, _ := s.call(http.MethodPost, "/work_pools/", body); status != http.StatusConflict {
		s.Error("the same pool again:", status)
	}
	for name, want := range map[string]int{"a/b": http.StatusUnprocessableEntity, "PreFectly": http.StatusForbidden} {
		if status, _ := s.call(http.MethodPost, "/work_pools/", object{"name": name, "type": "kubernetes"}); status != want {
			s.Errorf("a pool %q: %d, want %d", name, status, want)
		}
	}
	beat := func(body object) int {
		status, _ := s.call(http.MethodPost, path+"/workers/heartbeat", body)
		return status
	}
	if got := beat(object{"name": "w", "heartbeat_interval_seconds": 300, "return_id": true, "metadata": object{}}); got != http.StatusNoContent {
		s.Error("a heartbeat:", got)
	}
	want := http.StatusUnprocessableEntity
	if !s.since("3.0.0") {
		want = http.StatusNoContent
	}
	if got := beat(object{"name": "fast", "heartbeat_interval_seconds": 1.5}); got != want {
		s.Error("a heartbeat each 1.5 s:", got)
	}
	if status := s.ok(http.MethodGet, path, nil).(object)["status"]; status != "READY" {
		s.Error("a pool with a worker:", status)
	}
	workers := s.ok(http.MethodPost, path+"/workers/filter", object{}).([]any)
	for _, row := range workers {
		if w := row.(object); w["name"] == "w" && (w["status"] != "ONLINE" || w["heartbeat_interval_seconds"] != 300.0) {
			s.Error("its worker:", w)
		}
	}
	if len(workers) == 0 {
		s.Error("a pool with a heartbeat has no worker")
	}
	s.ok(http.MethodPatch, path, object{"is_paused": true})
	if status := s.ok(http.MethodGet, path, nil).(object)["status"]; status != "PAUSED" {
		s.Error("a paused pool:", status)
	}
}

// afterTheClaim is what a launcher writes then.
func (s *suite) afterTheClaim() {
	id := s.now()
	s.claim(id)
	patch := func(path string, body object) int {
		status, _ := s.call(http.MethodPatch, "/flow_runs/"+id+path, body)
		return status
	}
	if got := patch("", object{"infrastructure_pid": "ns:job"}); got != http.StatusNoContent {
		s.Error("infrastructure_pid:", got)
	}
	if got := patch("", object{"job_variables": object{}}); got != http.StatusBadRequest {
		s.Error("job_variables of a claimed run:", got)
	}
	want := http.StatusNoContent
	if !s.since("3.1.6") {
		want = http.StatusNotFound
	}
	if got := patch("/labels", object{"prefect.worker.name": "w"}); got != want {
		s.Error("labels:", got)
	}
	s.propose(id, "SCHEDULED")
	if pid := s.run(id)["infrastructure_pid"]; pid != "ns:job" {
		s.Error("the pid after a reschedule:", pid)
	}
	line := object{"name": "n", "level": 20, "message": "m", "timestamp": time.Now(), "flow_run_id": id, "task_run_id": nil}
	if status, v := s.call(http.MethodPost, "/logs/", []any{line}); status != http.StatusCreated || v != nil {
		s.Error("a log line:", status, v)
	}
	delete(line, "timestamp")
	if status, _ := s.call(http.MethodPost, "/logs/", []any{line}); status != http.StatusUnprocessableEntity {
		s.Error("a log line without a time:", status)
	}
}

// bundle is a run without a deployment that a client holds while it uploads.
func (s *suite) bundle() {
	p := s.newPool("bundles", nil)
	body := object{
		"name": "bundle-" + s.tag, "flow_id": s.flow, "state": object{"type": "PENDING"}, "work_pool_name": p, "job_variables": object{"command": "x"},
	}
	if !s.since("3.0.0") {
		if status, _ := s.call(http.MethodPost, "/flow_runs/", body); status != http.StatusUnprocessableEntity {
			s.Error("a bundle's run in Prefect 2:", status)
		}
		return
	}
	run := s.ok(http.MethodPost, "/flow_runs/", body).(object)
	if run["deployment_id"] != nil || run["work_pool_name"] != p || run["state_type"] != "PENDING" {
		s.Error("a bundle's run:", run)
	}
	id := s.text("id", run)
	s.propose(id, "SCHEDULED")
	if got := s.offered(p, s.clock()); len(got) != 1 || got[0] != id {
		s.Error("a bundle's run is offered:", got)
	}
}
