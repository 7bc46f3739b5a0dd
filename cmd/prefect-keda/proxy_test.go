package main

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A proxy before the API wants a user, a password and a header. All commands send them,
// the flows' pods get the URL as it was given, and nothing else shows any of it: no
// output at DEBUG, no page, no metric, no state, whether the proxy answers or not.
func TestWhatOpensTheAPIIsNeverShown(t *testing.T) {
	w := newWorld(t, "")
	var closed atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != word || password != word+"/@" || r.Header.Get("X-Proxy") != word || closed.Load() {
			rw.Header().Set("Location", "http://"+word+":"+word+"@elsewhere")
			http.Error(rw, "not you, "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Proxy"), http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer "+canary)
		w.prefect.ServeHTTP(rw, r)
	}))
	defer proxy.Close()
	api := strings.Replace(proxy.URL, "http://", "http://"+word+":"+word+"%2F%40@", 1)
	secrets := []string{word, base64.StdEncoding.EncodeToString([]byte(word + ":" + word + "/@"))}
	hidden := func(what, text string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(text, secret) || text == "" {
				t.Errorf("%s shows it:\n%s", what, text)
			}
		}
	}
	w.env = append(w.env, "PREFECT__CLOUD__API="+api, "PREFECT_KEDA_API_HEADERS=X-Proxy: "+word)
	ids := w.prefect.CreateRuns(prefecttest.Order{Count: 2})

	for _, args := range [][]string{{"render", ids[0]}, {"render", "-o", "json", ids[0]}, {"check"}, {"check", "--scaler"}, {"launcher", "--max-polls", "2", "--poll-interval", "100ms"}} {
		code, out := w.run(t, args...)
		hidden(strings.Join(args, " "), out)
		if code != exitOK && args[0] != "check" {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
		if args[0] == "check" && !regexp.MustCompile(`ok +(default: )?due flow runs`).MatchString(out) {
			t.Errorf("%q does not get through the proxy:\n%s", args, out)
		}
	}
	if code, out := w.run(t, "render", "--show-key", ids[0]); code != exitOK || !strings.Contains(out, api) {
		t.Errorf("render --show-key: exit code %d, and not the URL as the pods get it:\n%s", code, out)
	}
	created := w.kube.created()
	if len(created) != 2 {
		t.Fatalf("%d Jobs were created", len(created))
	}
	for _, j := range created {
		env := j.Spec.Template.Spec.Containers[0].Env
		i := slices.IndexFunc(env, func(v corev1.EnvVar) bool { return v.Name == "PREFECT__CLOUD__API" })
		if i < 0 || env[i].Value != api {
			t.Errorf("the pods of %s are told another API", j.Labels[kubernetesrun.LabelFlowRunID])
		}
	}

	closed.Store(true)
	out, stop := w.start(t, "scaler")
	out.await(t, "refuses the key")
	pages := regexp.MustCompile(`"serving pages","address":"([^"]+)"`).FindStringSubmatch(out.String())
	if pages == nil {
		t.Fatalf("no pages are served:\n%s", out)
	}
	for _, path := range []string{"/debug/demand", "/metrics", "/"} {
		hidden(path, get(t, pages[1], path))
	}
	stop()
	hidden("the scaler", out.String())
	for _, args := range [][]string{{"check"}, {"render", ids[0]}, {"launcher"}} {
		code, out := w.run(t, args...)
		hidden(strings.Join(args, " "), out)
		if code == exitOK {
			t.Errorf("%q does not mind being refused", args)
		}
	}
	for _, r := range w.prefect.Runs() {
		hidden("a state", r.State+r.Message)
	}
}
