package main

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chart is what Prefect's chart for workers renders with a variant's values: the form is its,
// the words are ours.
func chart(args, env, more string) string {
	return `---
apiVersion: v1
kind: ServiceAccount
metadata: {name: prefect-worker, namespace: "prefect"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: prefect-worker, namespace: "prefect"}
rules:
- {apiGroups: [""], resources: [events, pods, pods/log, pods/status], verbs: [get, watch, list]}
- {apiGroups: [batch], resources: [jobs], verbs: [get, list, watch, create, update, patch, delete]}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: prefect-worker
  namespace: "prefect"
  labels: {app.kubernetes.io/name: prefect-worker, app.kubernetes.io/component: worker, prefect-version: 3-latest}
spec:
  revisionHistoryLimit: 10
  replicas: 1
  template:
    metadata:
      annotations: {checksum/config: 0a1b}
      labels: {app.kubernetes.io/name: prefect-worker, app.kubernetes.io/component: worker, prefect-version: 3-latest}
    spec:
      dnsConfig: {nameservers: , searches: , options: }
      serviceAccountName: prefect-worker
      securityContext: {fsGroup: 1001, runAsNonRoot: true, runAsUser: 1001, seccompProfile: {type: RuntimeDefault}}
` + more + `
      containers:
      - name: prefect-worker
        image: "prefecthq/prefect:3-python3.11-kubernetes"
        imagePullPolicy: IfNotPresent
        command: [/usr/bin/tini, -g, --, /opt/prefect/entrypoint.sh]
        args: [prefect, worker, start, --type, "kubernetes", --pool, "etl", --install-policy, "prompt"` + args + `]
        workingDir: /home/prefect
        env:
        - {name: HOME, value: /home/prefect}
        - {name: PREFECT_WORKER_PREFETCH_SECONDS, value: "10"}
        - {name: PREFECT_WORKER_QUERY_SECONDS, value: "5"}
        - {name: PREFECT_API_ENABLE_HTTP2, value: "true"}
        - {name: PREFECT_KUBERNETES_CLUSTER_UID, value: "3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11"}
        - {name: PREFECT_DEBUG_MODE, value: "false"}
` + env + `
        envFrom:
        resources: {limits: {cpu: 1000m, memory: 1Gi}, requests: {cpu: 100m, memory: 256Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {}, readOnlyRootFilesystem: true, runAsNonRoot: true, runAsUser: 1001}
        volumeMounts:
        - {mountPath: /home/prefect, name: scratch, subPathExpr: home}
        - {mountPath: /tmp, name: scratch, subPathExpr: tmp}
        - {mountPath: /home/prefect/baseJobTemplate.json, name: base-job-template-file, subPath: baseJobTemplate.json}
        - {mountPath: /etc/own, name: ca, readOnly: true}
      volumes:
      - {name: scratch, emptyDir: {}}
      - {name: base-job-template-file, configMap: {name: prefect-worker-base-job-template}}
      - {name: ca, configMap: {name: own-ca}}
`
}

// serverWorker is of a server in the cluster, with the auth string in a Secret.
func serverWorker() string {
	return chart(`, --work-queue, high, --work-queue, "low prio", --limit, "7", --name, "etl-worker", --with-healthcheck, --base-job-template, baseJobTemplate.json, --shiny`, `
        - {name: PREFECT_API_URL, value: "http://prefect-server.prefect.svc.cluster.local:4200/api"}
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES, value: "prefect,team-a"}
        - {name: PREFECT_API_AUTH_STRING, valueFrom: {secretKeyRef: {name: server-auth, key: auth-string}}}
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME, value: server-auth}
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY, value: auth-string}
        - {name: PREFECT_LOGGING_LEVEL, value: DEBUG}
        - {name: PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME, value: etl}
        - {name: PREFECT_API_SSL_CERT_FILE, value: /etc/own/ca.crt}
        - {name: PREFECT_HOME, value: /home/prefect/.prefect}
        - {name: HTTPS_PROXY, value: "http://proxy:3128"}
        - {name: SECRET_THING, valueFrom: {secretKeyRef: {name: things, key: t}}}`, `
      imagePullSecrets: [{name: mirror}]
      nodeSelector: {pool: small}
      tolerations: [{key: small, operator: Exists}]
      initContainers:
      - {name: sync-base-job-template, image: "prefecthq/prefect:3-python3.11-kubernetes", command: [/bin/sh, -c], args: ["prefect work-pool update etl --base-job-template ./baseJobTemplate.json"]}`)
}

// TestInstallFromWorker: migration is one pipe.
func TestInstallFromWorker(t *testing.T) {
	got := installWith(t, []string{"PREFECT__BACKEND=cloud"}, serverWorker(), "--from-worker", "-")
	want := installed{
		Config: map[string]string{
			"PREFECT_API_URL":         "http://prefect-server.prefect.svc.cluster.local:4200/api",
			"PREFECT_KEDA_WORK_POOLS": "etl", "PREFECT_KEDA_WORK_QUEUES": "['high', 'low prio']", "PREFECT_KEDA_WORKER_NAME": "etl-worker", "PREFECT_KEDA_CONCURRENCY": "7",
			"PREFECT_WORKER_PREFETCH_SECONDS": "10", "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_DEBUG_MODE": "false",
			"PREFECT_KEDA_FLOW_ENV":    `{"PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME":"etl"}`,
			"PREFECT_API_ENABLE_HTTP2": "true", "PREFECT_API_SSL_CERT_FILE": "/etc/own/ca.crt", "PREFECT_KEDA_JOB_NAMESPACES": "team-a",
		},
		Secrets: map[string]string{}, Namespaces: []string{"prefect-keda"}, Home: "prefect-keda", JobNamespace: "prefect",
		RoleNamespaces: []string{"prefect", "prefect", "prefect", "prefect", "team-a", "team-a", "team-a", "team-a"},
		KeyOptional:    []bool{true, true}, Images: []string{shippedImage(t), shippedImage(t)}, MaxLaunchers: 10, RunsPer: "100",
		Err: `prefect-keda: both processes read SECRET_THING from there, so it has to be in prefect-keda: ` + copied("prefect", "secret things", "prefect-keda") + `
prefect-keda: not settings of Prefect or of ours, so both processes get them as they are: HTTPS_PROXY; if a work pool's template uses one as {{ $NAME }}, name it in PREFECT_KEDA_TEMPLATE_ENV
prefect-keda: the worker's --shiny is unknown and left out
prefect-keda: Jobs of work pools and deployments that name no namespace, or the template's default, go to prefect
prefect-keda: not taken over: the base job template in ConfigMap prefect-worker-base-job-template: the chart writes it into the work pool, we never do, and the pool keeps what it has. To change it later: prefect work-pool update POOL --base-job-template FILE
prefect-keda: PREFECT_API_SSL_CERT_FILE is read from there, mounted as in the worker, so it has to be in prefect-keda: ` + copied("prefect", "configmap own-ca", "prefect-keda") + `
prefect-keda: not taken over: imagePullSecrets (mirror), which are for the worker's image: if ours comes from that registry too, give --image-pull-secrets
prefect-keda: not taken over: the worker's resources: a launcher needs less memory and sets its own
prefect-keda: our pods and the flows' pods read the auth string from Secret server-auth, so it has to be in prefect-keda: ` + copied("prefect", "secret server-auth", "prefect-keda") + `
prefect-keda: our pods and the flows' pods read the auth string from Secret server-auth, so it has to be in team-a: ` + copied("prefect", "secret server-auth", "team-a") + "\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	text := command(t.Context(), nil, serverWorker(), "install", "--from-worker", "-").Out
	head, _, _ := strings.Cut(text, "---\n")
	for _, line := range []string{
		"#   worker's env             PREFECT_WORKER_QUERY_SECONDS: left out, PREFECT_KEDA_POLL_INTERVAL says how often we look\n",
		"#   worker's env             PREFECT_HOME: left out, it is about the worker's own home or a server\n",
		"#   worker's --with-healthcheck : left out, launcher and scaler always serve /livez\n",
		"#   worker's --pool          PREFECT_KEDA_WORK_POOLS in the ConfigMap\n",
		"#   worker's env             key auth-string of Secret server-auth, which both Deployments and the flows' pods read\n",
		"#   --job-namespaces         Roles in team-a, which you make yourself\n",
		"#   worker's pod             tolerations of both Deployments\n",
	} {
		if !strings.Contains(head, line) {
			t.Errorf("the head does not say %q:\n%s", line, head)
		}
	}
	for part, times := range map[string]int{
		"value: server-auth/auth-string # worker's env\n": 1, "name: server-auth # worker's env\n": 2, "mountPath: /etc/own\n": 2, "dnsConfig": 0, "scratch": 0, "name: HTTPS_PROXY\n": 2,
	} {
		if n := strings.Count(text, part); n != times {
			t.Errorf("%q is there %d times, want %d", part, n, times)
		}
	}

	// Flags win.
	got = installWith(t, nil, serverWorker(), "--from-worker", "-", "-n", "other", "-p", "a", "-p", "b", "--api", "http://h:1/api", "--auth-string", "u:p", "--job-namespaces", "team-b")
	if d := cmp.Diff([]string{"other", "['a', 'b']", "http://h:1/api", "team-b"}, []string{got.JobNamespace, got.Config["PREFECT_KEDA_WORK_POOLS"], got.Config["PREFECT_API_URL"], got.Config["PREFECT_KEDA_JOB_NAMESPACES"]}); d != "" {
		t.Errorf("with flags: -want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"other", "prefect-keda", "team-b"}, slices.Sorted(maps.Keys(got.Secrets))); d != "" || !slices.Contains(got.RoleNamespaces, "team-b") || slices.Contains(got.RoleNamespaces, "team-a") {
		t.Errorf("with flags: Roles in %v, Secrets: -want +got:\n%s", got.RoleNamespaces, d)
	}
}

// TestInstallFromCloudWorker: the three ways in which the chart gives flows the key, on Cloud
// and on one that customers manage, are one way here.
func TestInstallFromCloudWorker(t *testing.T) {
	const url = "https://api.prefect.cloud/api/accounts/a/workspaces/w"
	const key = `
        - {name: PREFECT_API_KEY, valueFrom: {secretKeyRef: {name: prefect-api-key, key: key}}}`
	for name, env := range map[string]string{
		"by reference": key + `
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME, value: prefect-api-key}
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_KEY, value: key}`,
		"a Secret of the worker's": key + `
        - {name: PREFECT_INTEGRATIONS_KUBERNETES_WORKER_CREATE_SECRET_FOR_API_KEY, value: "true"}`,
		"as text": key,
		"customer managed": key + `
        - {name: PREFECT_CLOUD_API_URL, value: "https://prefect.example.com/api"}`,
	} {
		text := command(t.Context(), nil, chart("", `
        - {name: PREFECT_API_URL, value: "`+url+`"}`+env, ""), "install", "--from-worker", "-")
		if text.Code != exitOK {
			t.Errorf("%s: %s", name, text.Err)
			continue
		}
		for part, times := range map[string]int{
			"PREFECT_API_URL: " + url + " # worker's env\n": 1, "value: prefect-api-key/key # worker's env\n": 1, "key: key # worker's env\n": 2, "optional: false # worker's env\n": 2,
			"kind: Secret\n": 0, "PREFECT__": 1, // the trigger's labelsFromEnv
		} {
			if n := strings.Count(text.Out, part); n != times {
				t.Errorf("%s: %q is there %d times, want %d", name, part, n, times)
			}
		}
	}
	// The key itself becomes a Secret.
	got := installWith(t, nil, chart("", `
        - {name: PREFECT_API_URL, value: "`+url+`"}
        - {name: PREFECT_API_KEY, value: pnu_1}`, ""), "--from-worker", "-")
	if d := cmp.Diff(map[string]string{"prefect-keda": "prefect-api-key=pnu_1", "prefect": "prefect-api-key=pnu_1"}, got.Secrets); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// The Deployment alone, as kubectl prints it, and an env block have no Role.
func TestInstallFromWorkersDeployment(t *testing.T) {
	_, deployment, _ := strings.Cut(chart("", `
        - {name: PREFECT_API_URL, value: "http://h:4200/api"}`, ""), "apiVersion: apps/v1")
	if got := installWith(t, nil, "apiVersion: apps/v1"+deployment, "--from-worker", "-"); got.JobNamespace != "prefect" {
		t.Errorf("the Jobs go to %s", got.JobNamespace)
	}
	block := "PREFECT_API_URL=http://h:4200/api\nPREFECT_API_AUTH_STRING=admin:a\nPREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES=flows\n"
	got := installWith(t, nil, block, "--from-worker", "-")
	if got.JobNamespace != "flows" || got.Config["PREFECT_API_URL"] != "http://h:4200/api" || !strings.Contains(got.Err, "all work pools of type kubernetes") {
		t.Errorf("%+v", got)
	}
}

func TestInstallFromWorkerFailures(t *testing.T) {
	const url = `
        - {name: PREFECT_API_URL, value: "http://h:4200/api"}`
	for _, tc := range []struct {
		stdin, want string
		args        []string
	}{
		{"kind: Service\n", "--from-worker -: has no container that runs `prefect worker start`: give what `helm get manifest RELEASE` prints, the worker's Deployment as kubectl get -o yaml prints it, or its env block", nil},
		{strings.Replace(chart("", url, ""), `"kubernetes"`, `"docker"`, 1), "--from-worker: the worker is of type docker: we take the place of workers of type kubernetes only", nil},
		{chart(`, --limit`, url, ""), "--from-worker: the worker's command line: flag needs an argument: --limit", nil},
		{chart(`, --limit, many`, url, ""), "settings:\n  PREFECT_KEDA_CONCURRENCY (--concurrency): \"many\" is not a whole number", nil},
		{chart("", url, ""), "--label is for Prefect 1, and this installation is for Prefect 3: leave it out, or choose by --prefect", []string{"--label", "x"}},
		{chart("", url, ""), "--from-agent, --from-worker: give one of them at a time, each with its own install", []string{"--from-agent", "x.yaml"}},
		{"A=1\n", "--from-worker: the namespace of the flows' Jobs is not in the worker's manifest: give --namespace", nil},
	} {
		want := result{exitMisconfigured, "", "prefect-keda: " + tc.want + "\n"}
		if d := cmp.Diff(want, command(t.Context(), nil, tc.stdin, append([]string{"install", "--from-worker", "-"}, tc.args...)...)); d != "" {
			t.Errorf("%s: -want +got:\n%s", tc.want, d)
		}
	}
}

// Whatever becomes a setting is one.
func TestWorkerFlags(t *testing.T) {
	for _, f := range workerFlags() {
		if f.variable != "" && !isSetting(f.variable) || (f.variable != "") == (f.why != "") && f.name != "type" {
			t.Errorf("--%s becomes %q: %s", f.name, f.variable, f.why)
		}
	}
}

// TestInstallPrefect3: the URL tells, or a flag.
func TestInstallPrefect3(t *testing.T) {
	const cloud = "https://api.prefect.cloud/api/accounts/a/workspaces/w"
	for _, tc := range []struct {
		args []string
		want map[string]string
		err  string
	}{
		{[]string{"--api", "http://h:4200/api", "--pool", "etl", "-q", "high"}, map[string]string{"PREFECT_API_URL": "http://h:4200/api", "PREFECT_KEDA_WORK_POOLS": "['etl']", "PREFECT_KEDA_WORK_QUEUES": "['high']"}, ""},
		{[]string{"--prefect", "3"}, map[string]string{"PREFECT_API_URL": "http://prefect-server.prefect:4200/api", "PREFECT_KEDA_BACKEND": "3"}, "prefect-keda: --api is not given, using http://prefect-server.prefect:4200/api\nprefect-keda: --pool is not given, so all work pools of type kubernetes are served\n"},
		{[]string{"-a", cloud, "-p", "etl"}, map[string]string{"PREFECT_API_URL": cloud, "PREFECT_KEDA_WORK_POOLS": "['etl']"}, "prefect-keda: --key is not given; the pods wait for: for n in prefect-keda prefect-flows; do kubectl -n $n create secret generic prefect-api-key --from-literal=api-key=...; done\n"},
		{[]string{"-a", cloud, "-p", "etl", "--api-key-secret", "own/k"}, map[string]string{"PREFECT_API_URL": cloud, "PREFECT_KEDA_WORK_POOLS": "['etl']"}, ""},
	} {
		got := installWith(t, nil, "", tc.args...)
		if d := cmp.Diff(tc.want, got.Config); d != "" || got.Err != tc.err {
			t.Errorf("%q: %s-want +got:\n%s", tc.args, got.Err, d)
		}
	}
	text := command(t.Context(), nil, "admin:a\n", "install", "--api", "http://h:4200/api", "--auth-string", "-", "--api-key-secret", "own/k").Out
	for part, times := range map[string]int{"auth-string: admin:a # --auth-string\n": 2, "value: own/k # --api-key-secret\n": 1, "name: own # --api-key-secret\n": 2, "kind: Secret\n": 2} {
		if n := strings.Count(text, part); n != times {
			t.Errorf("%q is there %d times, want %d", part, n, times)
		}
	}
	for args, want := range map[string]string{
		"--api http://h/api --key k --api-key-secret a/b": "--api-key-secret: there is --key too: give one of them",
		"--api http://h/api --auth-string-secret a":       `--auth-string-secret: "a" does not name a key of a Secret: give NAME/KEY, for example prefect-api-key/api-key`,
		"--api http://h/api --tenant-id x":                "--tenant-id is for Prefect 1, and this installation is for Prefect 3: leave it out, or choose by --prefect",
		"--backend server --pool x":                       "--pool is for Prefect 3, and this installation is for Prefect 1: leave it out, or choose by --prefect",
		"--api http://h/api --key - --auth-string -":      "--auth-string -: standard input is taken already: give one of the two as a file or a Secret",
	} {
		if got := command(t.Context(), nil, "k\n", append([]string{"install"}, strings.Fields(args)...)...); got.Err != "prefect-keda: "+want+"\n" || got.Code != exitMisconfigured {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestWorkerPageNamesEveryFlag: docs/migrate-worker.md has a row for every flag of a worker
// and every variable without effect.
func TestWorkerPageNamesEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/migrate-worker.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `--([a-z-]+)`").FindAllStringSubmatch(string(text), -1)
	var told []string
	for _, m := range rows {
		told = append(told, m[1])
	}
	var want []string
	for _, f := range workerFlags() {
		want = append(want, f.name)
		if f.variable != "" && !strings.Contains(string(text), "`"+f.variable+"`") {
			t.Errorf("the page does not say that --%s becomes %s", f.name, f.variable)
		}
	}
	slices.Sort(told)
	slices.Sort(want)
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("flags (-of workers +told):\n%s", d)
	}
}
