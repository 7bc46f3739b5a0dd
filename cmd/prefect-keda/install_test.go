package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// installed is what there is to see in the manifests.
type installed struct {
	Config         map[string]string // without the base's
	Secrets        map[string]string // by namespace
	Namespaces     []string          // that are made
	Home           string            // of the ConfigMap, the Deployments and the scaler's address
	JobNamespace   string
	RoleNamespaces []string
	KeyOptional    []bool
	PullSecrets    []string
	Images         []string
	MaxLaunchers   int
	RunsPer        string
	Err            string
}

// object is as much of any object as is looked at.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Secret   map[string]string `yaml:"stringData"`
	Spec     struct {
		Max      int `yaml:"maxReplicaCount"`
		Triggers []struct{ Metadata map[string]string }
		Template struct {
			Spec struct {
				ImagePullSecrets []struct{ Name string } `yaml:"imagePullSecrets"`
				Containers       []struct {
					Image  string
					Policy string `yaml:"imagePullPolicy"`
					Env    []struct {
						Name, Value string
						ValueFrom   struct {
							SecretKeyRef struct{ Optional bool } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
				}
			}
		}
	}
}

func installWith(t *testing.T, environ []string, stdin string, args ...string) installed {
	t.Helper()
	got := command(t.Context(), environ, stdin, append([]string{"install"}, args...)...)
	if got.Code != exitOK {
		t.Fatalf("%q: %+v", args, got)
	}
	sum := installed{Config: map[string]string{}, Secrets: map[string]string{}, Err: got.Err}
	homes, own := map[string]bool{}, map[string]bool{}
	for decoder := yaml.NewDecoder(strings.NewReader(got.Out)); ; {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			if len(homes) != 1 || !homes["prefect-keda-scaler."+sum.Home+".svc:9090"] {
				t.Errorf("%q: the settings say %s, and the scaler or launcher are at %v", args, sum.Home, homes)
			}
			if len(own) > 0 != (sum.RoleNamespaces != nil) || len(own) > 0 && (len(own) > 1 || !own[sum.Home]) {
				t.Errorf("%q: the settings say %s, and Roles for what is there are in %v", args, sum.Home, own)
			}
			return sum
		}
		if err != nil {
			t.Fatal(err)
		}
		switch o.Kind {
		case "Namespace":
			sum.Namespaces = append(sum.Namespaces, o.Metadata.Name)
		case "ConfigMap":
			sum.Config = o.Data
			sum.JobNamespace = o.Data["NAMESPACE"]
			delete(sum.Config, "NAMESPACE")
			sum.Home = o.Data["PREFECT_KEDA_NAMESPACE"]
			delete(sum.Config, "PREFECT_KEDA_NAMESPACE")
		case "Secret":
			sum.Secrets[o.Metadata.Namespace] = o.Metadata.Name + "=" + o.Secret["api-key"]
		case "Role", "RoleBinding":
			if strings.HasSuffix(o.Metadata.Name, "-own") { // for what is where the pods are
				own[o.Metadata.Namespace] = true
			} else {
				sum.RoleNamespaces = append(sum.RoleNamespaces, o.Metadata.Namespace)
			}
		case "ScaledObject":
			homes[o.Spec.Triggers[0].Metadata["scalerAddress"]] = true
			sum.MaxLaunchers, sum.RunsPer = o.Spec.Max, o.Spec.Triggers[0].Metadata["runsPerLauncher"]
		case "Deployment":
			homes["prefect-keda-scaler."+o.Metadata.Namespace+".svc:9090"] = true
			c := o.Spec.Template.Spec.Containers[0]
			sum.Images = append(sum.Images, c.Image+" "+c.Policy)
			for _, s := range o.Spec.Template.Spec.ImagePullSecrets {
				sum.PullSecrets = append(sum.PullSecrets, s.Name)
			}
			for _, v := range c.Env {
				switch v.Name {
				case "PREFECT_KEDA_API_KEY":
					sum.KeyOptional = append(sum.KeyOptional, v.ValueFrom.SecretKeyRef.Optional)
				}
			}
		}
	}
}

// TestInstallFlags has a row for every row of prefect1 §5.4, and then ours.
func TestInstallFlags(t *testing.T) {
	set := func(variable, value string) func(*installed) {
		return func(i *installed) { i.Config[variable] = value }
	}
	noEffect := func(flag string) func(*installed) {
		return func(i *installed) {
			i.Err += "prefect-keda: " + flag + " has no effect, as in the agent: set it in the run config or the Job template\n"
		}
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	const image = "ghcr.io/prefect-keda/prefect-keda"
	for _, row := range []struct {
		args  [][]string // each by itself
		stdin string
		want  func(*installed)
	}{
		{[][]string{{"--key", "pk"}, {"-k", "pk"}, {"--key", "-"}}, "pk\nmore", func(i *installed) {
			i.Secrets["prefect-keda"], i.Secrets["prefect-flows"] = "prefect-api-key=pk", "prefect-api-key=pk"
		}},
		{[][]string{{"--tenant-id", testTenant}}, "", set("PREFECT__CLOUD__TENANT_ID", testTenant)},
		{[][]string{{"--label", "b", "-l", "a"}}, "", set("PREFECT__CLOUD__AGENT__LABELS", "['a', 'b']")},
		{[][]string{{"--env", "A=1", "-e", "B=2"}}, "", set("PREFECT__CLOUD__AGENT__ENV_VARS", "{'A': '1', 'B': '2'}")},
		{[][]string{{"--agent-config-id", testConfig}}, "", set("PREFECT_KEDA_AGENT_CONFIG_ID", testConfig)},
		{[][]string{{"--api", "http://h:1"}, {"-a", "http://h:1"}}, "", func(i *installed) { i.Config["PREFECT__CLOUD__API"], i.Err = "http://h:1", "" }},
		{[][]string{{"--api", "http://u:pw@h:1"}}, "", func(i *installed) {
			i.Config["PREFECT__CLOUD__API"], i.Err = "http://u:pw@h:1", "prefect-keda: the API's URL contains a password, which is text in the ConfigMap and in every Job: keep this output like a key\n"
		}},
		{[][]string{{"--namespace", "flows"}, {"-n", "flows"}}, "", func(i *installed) {
			i.JobNamespace, i.RoleNamespaces, i.Namespaces = "flows", slices.Repeat([]string{"flows"}, 4), []string{"prefect-keda"}
		}},
		{[][]string{{"--namespace", "prefect-keda", "--key", "pk"}}, "", func(i *installed) {
			i.JobNamespace, i.RoleNamespaces, i.Namespaces = "prefect-keda", slices.Repeat([]string{"prefect-keda"}, 4), []string{"prefect-keda"}
			i.Secrets["prefect-keda"] = "prefect-api-key=pk"
		}},
		{[][]string{{"--namespace", "prefect-flows"}, {"--install-namespace", "prefect-keda"}}, "", nil},
		{[][]string{{"--install-namespace", "etl", "--key", "pk"}}, "", func(i *installed) {
			i.Home, i.Namespaces = "etl", []string{"prefect-flows"}
			i.Secrets["etl"], i.Secrets["prefect-flows"] = "prefect-api-key=pk", "prefect-api-key=pk"
		}},
		{[][]string{{"--image-pull-secrets", "a, b"}, {"-i", "a, b"}}, "", func(i *installed) {
			i.Config["IMAGE_PULL_SECRETS"], i.PullSecrets = "a, b", []string{"a", "b", "a", "b"}
		}},
		{[][]string{{"--image-pull-secrets", `["a", "b"]`}}, "", func(i *installed) {
			i.Config["IMAGE_PULL_SECRETS"], i.PullSecrets = `["a", "b"]`, []string{"a", "b", "a", "b"}
		}},
		{[][]string{{"--image-pull-secrets", "[]"}}, "", set("IMAGE_PULL_SECRETS", "[]")},
		{[][]string{{"--rbac=false"}}, "", func(i *installed) { i.RoleNamespaces = nil }},
		{[][]string{{"--latest"}}, "", func(i *installed) { i.Images = slices.Repeat([]string{image + ":latest Always"}, 2) }},
		{[][]string{{"--mem-request", "1G"}}, "", noEffect("--mem-request")},
		{[][]string{{"--mem-limit", "1G"}}, "", noEffect("--mem-limit")},
		{[][]string{{"--cpu-request", "1"}}, "", noEffect("--cpu-request")},
		{[][]string{{"--cpu-limit", "1"}}, "", noEffect("--cpu-limit")},
		{[][]string{{"--image-pull-policy", "Always"}}, "", noEffect("--image-pull-policy")},
		{[][]string{{"--service-account-name", "flows"}}, "", set("SERVICE_ACCOUNT_NAME", "flows")},
		{[][]string{{"--backend", "cloud"}, {"-b", "cloud"}}, "", func(i *installed) {
			i.Config["PREFECT__BACKEND"], i.Config["PREFECT__CLOUD__API"], i.KeyOptional = "cloud", "https://api.prefect.io", []bool{false, false}
			i.Err = "prefect-keda: --key is not given; the pods wait for: for n in prefect-keda prefect-flows; do kubectl -n $n create secret generic prefect-api-key --from-literal=api-key=...; done\n"
		}},

		{[][]string{{"--image", "r:5000/k@" + digest}}, "", func(i *installed) { i.Images = slices.Repeat([]string{"r:5000/k@" + digest + " IfNotPresent"}, 2) }},
		{[][]string{{"--image", "r:5000/a/k"}}, "", func(i *installed) { i.Images = slices.Repeat([]string{"r:5000/a/k Always"}, 2) }},
		{[][]string{{"--image", "r:5000/k", "--latest"}}, "", func(i *installed) { i.Images = slices.Repeat([]string{"r:5000/k:latest Always"}, 2) }},
		{[][]string{{"--agent-address", "http://:8081"}}, "", set("PREFECT__CLOUD__AGENT__AGENT_ADDRESS", "http://:8081")},
		{[][]string{{"--job-template", "/t/job.yaml"}}, "", func(i *installed) {
			i.Config["JOB_TEMPLATE"] = "/t/job.yaml"
			i.Err += "prefect-keda: the Job template /t/job.yaml is a file of the launcher's pod: mount it there, for example from a ConfigMap in prefect-keda (volumes and volumeMounts of Deployment prefect-keda-launcher)\n"
		}},
		{[][]string{{"--max-launchers", "3"}}, "", func(i *installed) { i.MaxLaunchers = 3 }},
		{[][]string{{"--runs-per-launcher", "20"}}, "", func(i *installed) { i.RunsPer = "20" }},
		{[][]string{{"--job-template", "s3://b/j.yaml"}}, "", set("JOB_TEMPLATE", "s3://b/j.yaml")},
		{[][]string{{"--warm-up-lead", "30s"}}, "", set("PREFECT_KEDA_WARM_UP_LEAD", "30s")},
		{[][]string{{"--disable-job-deletion"}}, "", set("DELETE_FINISHED_JOBS", "False")},
	} {
		t.Run(row.args[0][0], func(t *testing.T) {
			// The caller's backend is the default, and nothing else of the caller's counts.
			environ := []string{"PREFECT__BACKEND=server", "PREFECT__CLOUD__AGENT__NAME=mine", "PREFECT__CLOUD__API_KEY=mine", "NAMESPACE=mine"}
			want := installed{
				Config: map[string]string{
					"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": "http://prefect-apollo.prefect:4200", "PREFECT__CLOUD__AGENT__LABELS": "[]",
				},
				Secrets: map[string]string{}, Namespaces: []string{"prefect-flows", "prefect-keda"}, Home: "prefect-keda", JobNamespace: "prefect-flows", RoleNamespaces: slices.Repeat([]string{"prefect-flows"}, 4),
				KeyOptional: []bool{true, true}, Images: slices.Repeat([]string{shippedImage(t)}, 2), MaxLaunchers: 10, RunsPer: "100",
				Err: "prefect-keda: --api is not given, using http://prefect-apollo.prefect:4200\n",
			}
			if d := cmp.Diff(want, installWith(t, environ, "")); d != "" {
				t.Fatalf("without flags: -want +got:\n%s", d)
			}
			if row.want != nil {
				row.want(&want)
			}
			for _, args := range row.args {
				got := installWith(t, environ, row.stdin, args...)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%q: -want +got:\n%s", args, d)
				}
			}
		})
	}
}

// A key is needed in both namespaces, and what would not start is not printed.
func TestInstallElsewhere(t *testing.T) {
	got := installWith(t, nil, "", "-n", "flows", "-k", "pk")
	if d := cmp.Diff(map[string]string{"prefect-keda": "prefect-api-key=pk", "flows": "prefect-api-key=pk"}, got.Secrets); d != "" || got.Err != "" {
		t.Errorf("%s-want +got:\n%s", got.Err, d)
	}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{
			"settings:\n  PREFECT_KEDA_JOB_TTL (--job-ttl): is 1m0s: give at least 5m0s, because only the name of the finished Job stops a late launcher from starting the run again\n" +
				"  PREFECT_KEDA_WARM_UP_LEAD (--warm-up-lead): is 1h0m0s: give at most 10m0s\n",
			[]string{"--job-ttl", "1m", "--warm-up-lead", "1h"},
		},
		{"settings:\n  NAMESPACE (--namespace): \"A\" cannot be the name of a namespace\n", []string{"-n", "A"}},
		{"settings:\n  PREFECT__CLOUD__AGENT__ENV_VARS (--env): variable 1 has no =: give KEY=VALUE\n", []string{"-e", "A"}},
		{"--max-launchers: is 0: give at least 1\n", []string{"--max-launchers", "0"}},
		{"--key -: standard input is empty: pipe the key into it\n", []string{"-k", "-"}},
		{"--idle-timeout (PREFECT_KEDA_IDLE_TIMEOUT) is not a flag of install: print the manifests, and change it there together with cooldownPeriod of the ScaledObject, which stays below it (or 0, and only KEDA removes launchers)\n", []string{"--idle-timeout", "1h"}},
		{"--server-host (PREFECT__SERVER__HOST) is not a flag of install: give --api\n", []string{"--server-host", "h"}},
		{"unknown flag: --nonsense; see prefect-keda install --help\n", []string{"--nonsense"}},
		{"settings:\n  PREFECT__BACKEND (--backend): \"bogus\" is not a kind of Prefect API: give cloud or server, or prefect3\n", []string{"--backend", "bogus"}},
		{"--image: \"Nope:a:b\" is not an image: give REGISTRY/NAME:TAG, for example registry.example.com/prefect-keda:1.0\n", []string{"--image", "Nope:a:b"}},
		{"--latest: r:5000/k:1 has a tag or digest of its own: leave one of them out\n", []string{"--image", "r:5000/k:1", "--latest"}},
		{
			"--image: \"x y\" is not an image: give REGISTRY/NAME:TAG, for example registry.example.com/prefect-keda:1.0\n" +
				"  --runs-per-launcher: is 0: give at least 1\n  --max-launchers: is -1: give at least 1\n  settings:\n" +
				"  PREFECT__BACKEND (--backend): \"bogus\" is not a kind of Prefect API: give cloud or server, or prefect3\n" +
				"  NAMESPACE (--namespace): \"A\" cannot be the name of a namespace\n",
			[]string{"--max-launchers", "-1", "--runs-per-launcher", "0", "--image", "x y", "-b", "bogus", "-n", "A"},
		},
	} {
		want := result{exitMisconfigured, "", "prefect-keda: " + tc.want}
		if d := cmp.Diff(want, command(t.Context(), []string{"PREFECT__BACKEND=cloud"}, "", append([]string{"install"}, tc.args...)...)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.args, d)
		}
	}
}

// Every setting is a flag of install, or known not to be one.
func TestInstallHasEverySetting(t *testing.T) {
	flags := map[string]int{}
	for _, g := range installFlags() {
		g.Flags.VisitAll(func(f *pflag.Flag) { flags[f.Name]++ })
	}
	known := map[string]bool{}
	for _, s := range allSettings() {
		known[s.Variable] = true
		if s.Flag == "" {
			continue // --from-worker reads it
		}
		want := 1
		if isWired(s.Variable) && s.Variable != "NAMESPACE" {
			want = 0
		}
		if flags[s.Flag] != want {
			t.Errorf("--%s (%s) is there %d times, want %d", s.Flag, s.Variable, flags[s.Flag], want)
		}
	}
	for v, where := range wired() {
		if !known[v] || where == "" {
			t.Errorf("%s is no setting", v)
		}
	}
}
