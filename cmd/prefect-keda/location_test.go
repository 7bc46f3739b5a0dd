package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// word is the user, the password and the signature of every URL in these tests.
const word = "canary-word"

// openedBy are locations that hold it, of every kind there is.
func openedBy(server string) []string {
	host := strings.TrimPrefix(server, "http://")
	return []string{
		"http://" + word + ":" + word + "@" + host + "/job.yaml?sig=" + word + "#" + word,
		"http://" + word + ":" + word + "@" + host + "/away?sig=" + word,
		"http://" + word + ":" + word + "@" + host + "/empty?sig=" + word,
		"http://" + word + ":" + word + "@" + host + "/wrong?sig=" + word,
		"http://" + word + ":" + word + "/" + word + "@" + host + "/job.yaml",
		"http://" + word + "\x7f:" + word + "@" + host + "/job.yaml",
		"http://" + word + ":" + word + "@127.0.0.1:1/job.yaml?sig=" + word,
		"ftp://" + word + ":" + word + "@" + host + "/job.yaml?sig=" + word,
		word + ":" + word + "@" + host + "/job.yaml",
		"s3://" + word + ":" + word + "@bucket/key",
		"gs://" + word + ":" + word + "@bucket/key?sig=" + word,
		"gs://" + word + "@/",
		"/nowhere?sig=" + word,
		"file://" + word + ":" + word + "@" + host + "/nowhere?sig=" + word,
	}
}

// What opens a template's URL goes to its server and nowhere else: into no output
// of any command at DEBUG, no log line and no state.
func TestWhatOpensATemplateIsNeverShown(t *testing.T) {
	opened := false
	templates := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		opened = opened || password == word && r.URL.Query().Get("sig") == word
		switch r.URL.Path {
		case "/job.yaml":
			io.WriteString(w, "kind: Job\nspec: {template: {spec: {containers: [{name: flow}]}}}\n")
		case "/wrong":
			io.WriteString(w, "kind: Pod\n")
		case "/away":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer templates.Close()
	for _, location := range openedBy(templates.URL) {
		w := newWorld(t, "")
		// Everything that Prefect is told goes past here; what it knows of run configs
		// already comes back the other way.
		told := &output{}
		api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			told.Write(body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			w.prefect.ServeHTTP(rw, r)
		}))
		own := w.prefect.CreateRuns(prefecttest.Order{RunConfig: map[string]any{"type": "KubernetesRun", "job_template_path": location}})[0]
		none := w.prefect.CreateRuns(prefecttest.Order{})[0]
		env := append(w.env, "PREFECT__CLOUD__API="+api.URL, "JOB_TEMPLATE="+location)
		for _, args := range [][]string{
			{"launcher", "--max-polls", "2", "--poll-interval", "100ms"},
			{"launcher", "--max-polls", "1", "--job-template", location},
			{"check"},
			{"check", "-o", "json"},
			{"render", own},
			{"render", none},
		} {
			got := command(t.Context(), env, "", args...)
			if shown := got.Out + got.Err; strings.Contains(shown, word) || shown == "" {
				t.Errorf("%q with %q shows:\n%s", args, location, shown)
			}
		}
		api.Close()
		if strings.Contains(told.String(), word) {
			t.Errorf("Prefect is told what opens %q:\n%s", location, told)
		}
		for _, r := range w.prefect.Runs() {
			if strings.Contains(r.Message, word) {
				t.Errorf("with %q a run is %s: %s", location, r.State, r.Message)
			}
		}
	}
	if !opened {
		t.Error("no server was shown the password and the signature, so the test proves nothing")
	}
}

// The manifests hold the whole location, once and in the ConfigMap, and no hint or
// comment has any of it.
func TestInstallTellsLocationsOnce(t *testing.T) {
	for _, location := range openedBy("http://templates") {
		if strings.ContainsRune(location, '\x7f') {
			continue // no text for a manifest
		}
		agent := strings.Replace(anAgent, "args: [prefect agent kubernetes start]", "args: [\"prefect agent kubernetes start --job-template '"+location+"' '"+location+"'\"]", 1)
		for _, got := range []result{
			command(t.Context(), nil, "", "install", "-b", "server", "-a", "http://h:1", "--job-template", location),
			command(t.Context(), nil, agent, "install", "--from-agent", "-"),
		} {
			var elsewhere []string
			whole := 0
			for line := range strings.Lines(got.Out) {
				line, comment, _ := strings.Cut(line, " # ")
				switch {
				case strings.Contains(line, "JOB_TEMPLATE: ") && strings.Contains(line, location):
					whole++
				case strings.Contains(line, word):
					elsewhere = append(elsewhere, line)
				}
				if strings.Contains(comment, word) {
					elsewhere = append(elsewhere, comment)
				}
			}
			if got.Code != exitOK || whole != 1 || len(elsewhere) > 0 || strings.Contains(got.Err, word) {
				t.Errorf("%q: whole %d times, elsewhere in %q: %s", location, whole, elsewhere, got.Err)
			}
		}
	}
}
