package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/kube"
)

// cluster is an API server with what the checks ask for, and what differs from
// one where all is well.
type cluster struct {
	t       *testing.T
	objects map[string]string // by path; refused ones by an HTTP status
	denied  string            // a verb; "*" for all
	refusal string            // of the Job, as a Status
	warning string
	dryRuns []string // names of Jobs
}

const (
	home = "/apis/keda.sh/v1alpha1/namespaces/prefect-keda/"
	crd  = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh"
)

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, objects: map[string]string{
		"/version":                       `{"gitVersion": "v1.34.4"}`,
		"/api/v1/namespaces/flows":       `{"status": {"phase": "Active"}}`,
		inFlows("serviceaccounts/flows"): `{}`,
		inFlows("secrets/registry"):      `{"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "c2VjcmV0"}}`,
		inFlows("secrets/api-key"):       `{"type": "Opaque", "data": {"key": "c2VjcmV0"}}`,
		"/apis/keda.sh":                  `{"kind": "APIGroup", "name": "keda.sh"}`,
		crd:                              `{"metadata": {"labels": {"app.kubernetes.io/version": "2.21.0"}}}`,
		home + "scaledobjects": `{"items": [
			{"metadata": {"name": "web"}, "spec": {"triggers": [{"type": "cpu"}]}},
			{"metadata": {"name": "l"}, "spec": {"triggers": [{"type": "external-push"}]},
				"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Paused", "status": "False"}]}}]}`,
		home + "scaledjobs": `{"items": []}`,
	}}
}

func noTypos(metadata map[string]string) error {
	if _, wrong := metadata["typo"]; wrong {
		return errors.New("a typo")
	}
	return nil
}

// asking is a trigger of our scaler.
func asking(address, key string) string {
	return `{"triggers": [{"type": "external-push", "metadata": {"scalerAddress": "` + address + `", "` + key + `": "7"}}]}`
}

func inFlows(rest string) string { return "/api/v1/namespaces/flows/" + rest }

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch body, known := c.objects[r.URL.Path]; {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		if known {
			refuse(w, body)
			return
		}
		review := decode[*authorizationv1.SelfSubjectAccessReview](c.t, r)
		review.APIVersion, review.Kind = "authorization.k8s.io/v1", "SelfSubjectAccessReview"
		review.Status.Allowed = c.denied != "*" && review.Spec.ResourceAttributes.Verb != c.denied
		send(w, http.StatusCreated, review)
	case r.Method == http.MethodPost && r.URL.RequestURI() == "/apis/batch/v1/namespaces/flows/jobs?dryRun=All":
		j := decode[*batchv1.Job](c.t, r)
		j.APIVersion, j.Kind = "batch/v1", "Job"
		c.dryRuns = append(c.dryRuns, j.Name)
		if c.warning != "" {
			w.Header().Set("Warning", `299 - "`+c.warning+`"`)
		}
		if c.refusal != "" {
			refuse(w, c.refusal)
			return
		}
		send(w, http.StatusCreated, j)
	case r.Method != http.MethodGet:
		c.t.Errorf("%s %s is more than looking", r.Method, r.URL)
	case !known:
		refuse(w, `{"code": 404, "reason": "NotFound", "message": "not found"}`)
	case strings.Contains(body, `"code"`):
		refuse(w, body)
	default:
		io.WriteString(w, body)
	}
}

func send(w http.ResponseWriter, code int, body any) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}

// refuse answers a Status.
func refuse(w http.ResponseWriter, text string) {
	var status map[string]any
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		panic(err)
	}
	status["apiVersion"], status["kind"], status["status"] = "v1", "Status", "Failure"
	code, _ := status["code"].(float64)
	send(w, int(code), status)
}

func decode[T any](t *testing.T, r *http.Request) T {
	t.Helper()
	var none T
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
		return none
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		t.Error(err)
		return none
	}
	return object.(T)
}

type warned struct{ texts []string }

// HandleWarningHeader is that of rest.WarningHandler.
func (w *warned) HandleWarningHeader(_ int, _, text string) { w.texts = append(w.texts, text) }

// options are a launcher's whose settings name all there is.
func (c *cluster) options() check.ClusterOptions {
	server := httptest.NewServer(c)
	c.t.Cleanup(server.Close)
	return check.ClusterOptions{
		Connect: func() (check.Cluster, error) {
			w := &warned{}
			client, err := kube.NewClient(&rest.Config{Host: server.URL, WarningHandler: w})
			return check.Cluster{
				Address: "https://kubernetes", Source: "kubeconfig k", Objects: client,
				Reviews: client.Reviews(), Jobs: client.Jobs("flows"), Warnings: func() []string { return w.texts },
			}, err
		},
		Namespaces: []string{"flows"}, Home: "prefect-keda", Metadata: noTypos, Role: "prefect-keda-launcher", Permissions: kube.LauncherPermissions(),
		Launching: &check.LaunchingOptions{
			Renderer: kubernetesrun.Renderer{Settings: kubernetesrun.Settings{
				Namespace: "flows", ServiceAccountName: "flows", ImagePullSecrets: []string{"registry"}, Backend: "server",
			}},
			KeySecret: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "api-key"}, Key: "key"},
		},
	}
}

func TestClusterIsWell(t *testing.T) {
	c := newCluster(t)
	got, failures := results(t, check.OfCluster(c.options()))
	want := []check.Result{
		{Check: "Kubernetes API", Status: check.OK, Detail: "v1.34.4 at https://kubernetes, by kubeconfig k"},
		{Check: "namespace", Status: check.OK, Detail: "flows"},
		{Check: "permissions", Status: check.OK, Detail: "all 11 of the Role prefect-keda-launcher in flows"},
		{Check: "Job template", Status: check.OK, Detail: "the built-in one, rendered"},
		{Check: "service account", Status: check.OK, Detail: "flows"},
		{Check: "authors' accounts", Status: check.OK, Detail: "flows may name any service account of flows"},
		{Check: "image pull secrets", Status: check.OK, Detail: "registry"},
		{Check: "API key Secret", Status: check.OK, Detail: "api-key/key"},
		{Check: "trial Job", Status: check.OK, Detail: "Kubernetes would accept it"},
		{Check: "KEDA", Status: check.OK, Detail: "2.21.0"},
		{Check: "ScaledObject", Status: check.OK, Detail: "scaledobject l is Ready"},
	}
	if d := cmp.Diff(want, got); d != "" || failures != 0 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
	if len(c.dryRuns) != 1 || !strings.HasPrefix(c.dryRuns[0], "prefect-job-") {
		t.Errorf("tried the Jobs %q", c.dryRuns)
	}
}

// Pods read the credentials in their own namespace, wherever that is.
func TestSecretsOfPods(t *testing.T) {
	const has = `{"type": "Opaque", "data": {"key": "c2VjcmV0"}}`
	for name, tc := range map[string]struct {
		in   []string // the namespaces with the Secret of the auth string
		want check.Result
	}{
		"in both": {[]string{"flows", "team"}, check.Result{Check: "auth string Secret", Status: check.OK, Detail: "auth/key"}},
		"not in another": {[]string{"flows"}, check.Result{
			Check: "auth string Secret", Status: check.Fail, Detail: "there is no Secret auth with the key key in team, and pods do not start without it",
			Advice: "kubectl -n team create secret generic auth --from-literal=key=..., or set PREFECT_KEDA_API_AUTH_STRING_SECRET (--auth-string-secret)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.objects["/api/v1/namespaces/team"] = c.objects["/api/v1/namespaces/flows"]
			for _, in := range tc.in {
				c.objects["/api/v1/namespaces/"+in+"/secrets/auth"] = has
			}
			o := c.options()
			o.Namespaces = append(o.Namespaces, "team")
			o.Launching.AuthSecret = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "auth"}, Key: "key"}
			got, _ := results(t, check.OfCluster(o))
			if i := slices.IndexFunc(got, func(r check.Result) bool { return r.Check == tc.want.Check }); i < 0 || cmp.Diff(tc.want, got[i]) != "" {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// What authors may choose is no matter of being well.
func TestAuthorsAccounts(t *testing.T) {
	c := newCluster(t)
	c.denied = "use"
	got, failures := results(t, check.OfCluster(c.options()))
	want := check.Result{Check: "authors' accounts", Status: check.OK, Detail: "flows may name the service accounts that the Role prefect-keda-launcher lets it use, and the default"}
	if !slices.Contains(got, want) || failures != 0 {
		t.Errorf("%d failures, and none is %v:\n%v", failures, want, got)
	}
}

// allowed answers every review.
type allowed bool

func (a allowed) Create(_ context.Context, review *authorizationv1.SelfSubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SelfSubjectAccessReview, error) {
	review = review.DeepCopy()
	review.Status.Allowed = bool(a)
	return review, nil
}

// askingOf has reviews of the launcher answered, for who may not act as it.
func askingOf(o *check.ClusterOptions, reviews kube.Reviewer) {
	connect := o.Connect
	o.Connect = func() (check.Cluster, error) {
		c, err := connect()
		c.ReviewsOf = reviews
		return c, err
	}
}

// source gives one template, or none.
type source struct {
	text string
	err  error
}

func (s source) Read(context.Context, string) ([]byte, error) { return []byte(s.text), s.err }

// TestClusterFindings has a row for each line that is not ok.
func TestClusterFindings(t *testing.T) {
	const (
		absent    = ""
		forbidden = `{"code": 403, "reason": "Forbidden", "message": "not for you"}`
		reach     = "KUBECONFIG (--kubeconfig) and PREFECT_KEDA_KUBE_CONTEXT (--context)"
	)
	type row struct {
		name    string
		differs func(*cluster, *check.ClusterOptions)
		want    []check.Result
	}
	// object is about one that differs.
	object := func(name, path, body string, want ...check.Result) row {
		return row{name, func(c *cluster, _ *check.ClusterOptions) {
			if c.objects[path] = body; body == absent {
				delete(c.objects, path)
			}
		}, want}
	}
	template := func(name string, s source, want check.Result) row {
		return row{name, func(_ *cluster, o *check.ClusterOptions) {
			r := o.Launching.Renderer.(kubernetesrun.Renderer)
			r.Settings.JobTemplate, r.Source = "job.yaml", s
			o.Launching.Renderer = r
		}, []check.Result{want}}
	}
	// refusal is the API server's of the trial Job.
	refusal := func(name string, code int, reason, message, detail, advice string) row {
		return row{name, func(c *cluster, _ *check.ClusterOptions) {
			c.refusal = fmt.Sprintf(`{"code": %d, "reason": %q, "message": %q}`, code, reason, message)
		}, []check.Result{fail("trial Job", detail, advice)}}
	}
	conditions := func(list string) string {
		return `{"items": [{"metadata": {"name": "l"}, "spec": {"triggers": [{"type": "external-push"}]}, "status": {"conditions": [` + list + `]}}]}`
	}
	for _, tc := range []row{
		{
			"no way", func(_ *cluster, o *check.ClusterOptions) {
				o.Connect = func() (check.Cluster, error) { return check.Cluster{}, errors.New("no way to Kubernetes") }
			},
			[]check.Result{fail("Kubernetes API", "no way to Kubernetes", "run this in a pod with a service account, or set "+reach)},
		},
		{
			"nobody there", func(_ *cluster, o *check.ClusterOptions) {
				o.Connect = func() (check.Cluster, error) {
					client, err := kube.NewClient(&rest.Config{Host: "http://kubernetes", Transport: unresolved()})
					return check.Cluster{Address: "http://kubernetes", Objects: client}, err
				}
			},
			[]check.Result{fail("Kubernetes API", "DNS: lookup kubernetes: no such host",
				"find out why the name kubernetes does not resolve here, or correct "+reach+"; the name NAME.NAMESPACE of a Service works only inside its cluster")},
		},
		object("a token that has expired", "/version", `{"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}`,
			fail("Kubernetes API", "get /version: Unauthorized", "the API server rejects the credentials of kubeconfig k: log in again, or set "+reach)),
		object("another server", "/version", absent,
			fail("Kubernetes API", "get /version: not found", "check that https://kubernetes is a healthy Kubernetes API server, or set "+reach)),
		{
			"a verb is missing", func(c *cluster, _ *check.ClusterOptions) { c.denied = "patch" },
			[]check.Result{fail("permissions", "the service account lacks permissions in namespace flows: patch jobs.batch (to note on Jobs in trouble what was done). Add them to its Role",
				"bind the Role prefect-keda-launcher of the manifests in namespace flows; to check the account of our pods instead of this one, give --as system:serviceaccount:prefect-keda:prefect-keda-launcher")},
		},
		{
			"no Role, or no namespace, for those who cannot tell", func(c *cluster, _ *check.ClusterOptions) {
				c.denied, c.objects["/api/v1/namespaces/flows"] = "*", forbidden
			},
			[]check.Result{
				skip("namespace", "not allowed to get /api/v1/namespaces/flows: run this with an account that is"),
				fail("permissions", "the service account may do nothing in namespace flows: check that the namespace exists and is spelled right, and apply the manifests again, which bind the Role in it",
					"bind the Role prefect-keda-launcher of the manifests in namespace flows; to check the account of our pods instead of this one, give --as system:serviceaccount:prefect-keda:prefect-keda-launcher"),
			},
		},
		object("nobody who may impersonate", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", forbidden,
			fail("permissions", "ask Kubernetes whether we may create jobs.batch in flows: not for you",
				"your account cannot create selfsubjectaccessreviews (allowed to everyone by default); with --as it also needs to impersonate, or to create localsubjectaccessreviews there")),
		{
			"somebody who may not impersonate but ask", func(c *cluster, o *check.ClusterOptions) {
				c.objects["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] = forbidden
				askingOf(o, allowed(true))
				r := o.Launching.Renderer.(kubernetesrun.Renderer)
				r.Settings.JobTemplate, r.Source = "job.yaml", source{err: fmt.Errorf("job.yaml: %w", fs.ErrNotExist)}
				o.Launching.Renderer, o.Launching.TemplateOrigin = r, "job.yaml"
			},
			[]check.Result{
				skip("Job template", "job.yaml is a file in the launcher's pod and not in this one: launchers read it when they start"),
				skip("service account", "there is no Job to check"),
				skip("image pull secrets", "there is no Job to check"),
				skip("trial Job", "not allowed to act as the launcher: launchers try it when they start"),
			},
		},
		{
			"what is found by asking", func(c *cluster, o *check.ClusterOptions) {
				c.objects["/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] = forbidden
				askingOf(o, allowed(false))
			},
			[]check.Result{
				fail("permissions", "the service account may do nothing in namespace flows: check that the namespace exists and is spelled right, and apply the manifests again, which bind the Role in it",
					"bind the Role prefect-keda-launcher of the manifests in namespace flows; to check the account of our pods instead of this one, give --as system:serviceaccount:prefect-keda:prefect-keda-launcher"),
			},
		},
		object("no namespace", "/api/v1/namespaces/flows", absent,
			fail("namespace", "there is no namespace flows", "kubectl create namespace flows and apply the manifests again, because its Roles are missing too; or set NAMESPACE (--namespace)"),
			skip("permissions", "none of the namespaces exists")),
		object("a namespace on its way out", "/api/v1/namespaces/flows", `{"status": {"phase": "Terminating"}}`,
			fail("namespace", "the namespace flows is being deleted", "wait until it is gone and create it again, or set NAMESPACE (--namespace)")),
		object("a namespace we may not see", "/api/v1/namespaces/flows", forbidden,
			skip("namespace", "not allowed to get /api/v1/namespaces/flows: run this with an account that is")),
		object("an API server that is unwell", "/api/v1/namespaces/flows", `{"code": 500, "reason": "InternalError", "message": "etcd is away"}`,
			fail("namespace", "get /api/v1/namespaces/flows: etcd is away", "check whether the API server is healthy, and try again")),
		template("a template with a misspelling", source{text: "kind: Job\nspec: {templates: {}}"},
			fail("Job template", `the launcher's job template job.yaml has fields that no Job has: unknown field "spec.templates"`, "fix the template or set JOB_TEMPLATE (--job-template); paths are read on this machine. No launcher starts with the template as it is. prefect-keda render shows a run's Job")),
		template("a template that cannot be read", source{err: errors.New("get https://templates: 503")},
			fail("Job template", "read job template: get https://templates: 503", "check that the template's location can be reached from here, or set JOB_TEMPLATE (--job-template); until it can be read, runs without a template of their own wait")),
		object("no service account", inFlows("serviceaccounts/flows"), absent,
			fail("service account", "there is no service account flows in flows, and pods cannot be created without it",
				"kubectl -n flows create serviceaccount flows, or set SERVICE_ACCOUNT_NAME (--service-account-name) or the template's serviceAccountName")),
		object("no pull secret", inFlows("secrets/registry"), absent,
			fail("image pull secrets", "in flows registry does not exist, so images are pulled without it",
				"kubectl -n flows create secret docker-registry NAME --docker-server=... --docker-username=... --docker-password=..., or set IMAGE_PULL_SECRETS (--image-pull-secrets) or the template's imagePullSecrets")),
		object("a pull secret of another type", inFlows("secrets/registry"), `{"type": "Opaque"}`,
			fail("image pull secrets", "in flows registry is of type Opaque, so images are pulled without it",
				"kubectl -n flows create secret docker-registry NAME --docker-server=... --docker-username=... --docker-password=..., or set IMAGE_PULL_SECRETS (--image-pull-secrets) or the template's imagePullSecrets")),
		object("a pull secret we may not see", inFlows("secrets/registry"), forbidden,
			skip("image pull secrets", "not allowed to get /api/v1/namespaces/flows/secrets/registry: run this with an account that is")),
		object("a key Secret without the key", inFlows("secrets/api-key"), `{"type": "Opaque", "data": {"other": "c2VjcmV0"}}`,
			fail("API key Secret", "there is no Secret api-key with the key key in flows, and pods do not start without it",
				"kubectl -n flows create secret generic api-key --from-literal=key=..., or set PREFECT_KEDA_API_KEY_SECRET (--api-key-secret)")),
		refusal("a full quota", 403, "Forbidden", `jobs.batch "j" is forbidden: exceeded quota: jobs`, `jobs.batch "j" is forbidden: exceeded quota: jobs`,
			"raise the quota or wait for Jobs to end (kubectl -n flows describe resourcequota): until there is room, runs wait in Prefect and are tried again"),
		refusal("a webhook that denies", 403, "Forbidden", `admission webhook "policy" denied the request: no limits`, `admission webhook "policy" denied the request: no limits`,
			"an admission webhook or policy wants other Jobs: change the Job template (JOB_TEMPLATE), or exempt the namespace"),
		refusal("an admission plugin that refuses", 403, "Forbidden", `jobs.batch "j" is forbidden: not here`, `jobs.batch "j" is forbidden: not here`,
			"the message names what refuses it: change that, or the Role in namespace flows"),
		refusal("a Job that is none", 422, "Invalid", `spec.template.spec.restartPolicy: Required`, `spec.template.spec.restartPolicy: Required`,
			"the named fields come from the Job template or the launcher's settings: fix them there. No launcher starts with them as they are. prefect-keda render shows a run's Job"),
		{
			"a webhook that cannot be tried", func(c *cluster, _ *check.ClusterOptions) {
				c.refusal = `{"code": 400, "reason": "BadRequest", "message": "admission webhook \"w\" does not support dry run"}`
			},
			[]check.Result{skip("trial Job", `admission webhook "w" does not support dry run: if the webhook has no side effects, set its sideEffects to None. Without a dry run nobody can tell an author's mistake from the template's`)},
		},
		refusal("a namespace that does not exist after all", 404, "NotFound", `namespaces "flows" not found`, `namespaces "flows" not found`,
			"create the namespace flows, or set NAMESPACE (--namespace)"),
		refusal("a webhook that is away", 500, "InternalError", `failed calling webhook`, `failed calling webhook`,
			"check whether the API server and the webhooks it calls are healthy, and try again"),
		object("no KEDA", "/apis/keda.sh", absent,
			fail("KEDA", "the API group keda.sh does not exist", "install KEDA 2.17 or newer (https://keda.sh/docs/latest/deploy/) and apply the manifests again")),
		object("nothing to scale", home+"scaledobjects", `{"items": []}`,
			fail("ScaledObject", "there is no ScaledObject or ScaledJob with an external trigger in prefect-keda",
				"apply the manifests (prefect-keda install ... | kubectl apply -f -), or give the namespace of the launchers: --install-namespace")),
		object("a ScaledObject that is not ready", home+"scaledobjects", conditions(`{"type": "Ready", "status": "False", "message": "connection refused"}`),
			fail("ScaledObject", "scaledobject l is not Ready: connection refused",
				"its events say why: kubectl -n prefect-keda describe scaledobject l. If they name metadata, fix it there; if a connection failed, check that the scaler runs and that scalerAddress leads to it")),
		object("a typo in a ScaledObject", home+"scaledobjects", `{"items": [{"metadata": {"name": "l"}, "spec": `+asking("prefect-keda-scaler.prefect-keda:9090", "typo")+`}]}`,
			fail("ScaledObject", "scaledobject l in prefect-keda: a typo", "fix the trigger's metadata: kubectl -n prefect-keda edit scaledobject l")),
		object("a typo in a ScaledJob of another namespace", "/apis/keda.sh/v1alpha1/scaledjobs", `{"items": [
			{"metadata": {"name": "x", "namespace": "team"}, "spec": `+asking("prefect-keda-scaler.another:9090", "typo")+`},
			{"metadata": {"name": "y", "namespace": "team"}, "spec": `+asking("somebody-else.prefect-keda:9090", "typo")+`},
			{"metadata": {"name": "z", "namespace": "team"}, "spec": `+asking("prefect-keda-scaler.prefect-keda.svc.cluster.local:9090", "typo")+`}]}`,
			fail("ScaledObject", "scaledjob z in team: a typo", "fix the trigger's metadata: kubectl -n team edit scaledjob z")),
		object("a ScaledObject nobody looked at", home+"scaledobjects", conditions(""),
			fail("ScaledObject", "scaledobject l is not Ready: KEDA has not looked at it yet",
				"its events say why: kubectl -n prefect-keda describe scaledobject l. If they name metadata, fix it there; if a connection failed, check that the scaler runs and that scalerAddress leads to it")),
		object("a ScaledJob that is paused", home+"scaledjobs", conditions(`{"type": "Ready", "status": "True"}, {"type": "Paused", "status": "True"}`),
			fail("ScaledObject", "scaledjob l is paused", "remove its annotations autoscaling.keda.sh/paused...: kubectl -n prefect-keda edit scaledjob l")),
		{
			"nothing is named", func(c *cluster, o *check.ClusterOptions) {
				o.Launching.Renderer, o.Launching.KeySecret = kubernetesrun.Renderer{Settings: kubernetesrun.Settings{Namespace: "flows"}}, nil
				c.objects[inFlows("serviceaccounts/default")] = "{}"
			},
			[]check.Result{skip("image pull secrets", "none are set"), skip("API key Secret", "not set: pods get the key, if there is one, as text")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			o := c.options()
			tc.differs(c, &o)
			if d := cmp.Diff(tc.want, remarkable(t, check.OfCluster(o))); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// The scaler creates no Jobs, and may watch several namespaces for them.
func TestClusterOfTheScaler(t *testing.T) {
	c := newCluster(t)
	o := c.options()
	o.Role, o.Permissions, o.Launching, o.Namespaces = "prefect-keda-scaler", kube.ScalerPermissions(), nil, []string{"flows", "elsewhere"}
	got, _ := results(t, check.OfCluster(o))
	want := []check.Result{
		{Check: "Kubernetes API", Status: check.OK, Detail: "v1.34.4 at https://kubernetes, by kubeconfig k"},
		{Check: "namespace flows", Status: check.OK, Detail: "flows"},
		fail("namespace elsewhere", "there is no namespace elsewhere", "kubectl create namespace elsewhere and apply the manifests again, because its Roles are missing too; or set NAMESPACE (--namespace)"),
		{Check: "permissions", Status: check.OK, Detail: "all 5 of the Role prefect-keda-scaler in flows"},
		{Check: "KEDA", Status: check.OK, Detail: "2.21.0"},
		{Check: "ScaledObject", Status: check.OK, Detail: "scaledobject l is Ready"},
	}
	if d := cmp.Diff(want, got); d != "" || len(c.dryRuns) > 0 {
		t.Errorf("%d dry runs, -want +got:\n%s", len(c.dryRuns), d)
	}
}

// What the API server takes with a warning is told: pod security says no more to
// Jobs, and then lets no pod of theirs in.
func TestWarnings(t *testing.T) {
	c := newCluster(t)
	c.warning = "would violate PodSecurity"
	all, _ := results(t, check.OfCluster(c.options()))
	want := check.Result{Check: "trial Job", Status: check.OK, Detail: "Kubernetes would accept it, but warns: would violate PodSecurity"}
	if !slices.Contains(all, want) {
		t.Errorf("%+v", all)
	}
}

func fail(name, detail, advice string) check.Result {
	return check.Result{Check: name, Status: check.Fail, Detail: detail, Advice: advice}
}

func skip(name, why string) check.Result {
	return check.Result{Check: name, Status: check.Skip, Detail: why}
}
