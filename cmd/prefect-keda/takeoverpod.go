package main

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

// pod takes over the parts of the pod that a launcher or the scaler needs, and names the
// rest.
func (r *takeover) pod() {
	r.files()
	r.fields()
	r.annotations()
	r.account()
	r.notTakenOver()
}

func (r *takeover) leave(format string, args ...any) { r.hint("not taken over: "+format, args...) }

// pythonsAuthorities are what requests, by which the agent spoke to Prefect, obeys: the
// first of them that is set, and nothing else.
func pythonsAuthorities() []string { return []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} }

// authorities has Go trust whom Python did: it obeys SSL_CERT_FILE, or for a directory
// SSL_CERT_DIR.
func (r *takeover) authorities() {
	given := slices.DeleteFunc(pythonsAuthorities(), func(variable string) bool {
		return !slices.ContainsFunc(r.o.Env, func(f install.Field) bool { return f.Item["name"] == variable })
	})
	r.o.Env = slices.DeleteFunc(r.o.Env, func(f install.Field) bool { return slices.Contains(given, fmt.Sprint(f.Item["name"])) })
	if len(given) == 0 {
		return
	}
	variable := given[0]
	file, plain := r.plain(variable)
	mount, _, found := r.deployed.Pod.Mounted(file)
	switch {
	case !plain:
		r.leave("%s, whose value is not in the manifest: Go reads SSL_CERT_FILE, a file (PEM) of the CAs to trust; set it in both Deployments and mount that file", variable)
		return
	case !found:
		r.leave("%s=%s, a file of the %s's image that ours does not have: if a CA of yours signed Prefect's certificate, mount that CA in both Deployments and set SSL_CERT_FILE to it", variable, file, r.who)
		return
	}
	forGo := "SSL_CERT_FILE"
	if path.Clean(fmt.Sprint(mount["mountPath"])) == path.Clean(file) && mount["subPath"] == nil {
		forGo = "SSL_CERT_DIR"
	}
	r.o.Env = slices.DeleteFunc(r.o.Env, func(f install.Field) bool { return f.Item["name"] == forGo })
	r.o.Env = append(r.o.Env, install.Field{Item: map[string]any{"name": forGo, "value": file}, Flag: r.from(variable)})
	r.mounted(file, variable, true)
}

func (r *takeover) plain(variable string) (text string, ok bool) {
	i := slices.IndexFunc(r.deployed.Env, func(v install.Variable) bool { return v.Name == variable && v.From == nil })
	if i < 0 {
		return "", false
	}
	return r.deployed.Env[i].Value, true
}

func (r *takeover) files() {
	if file := r.values["JOB_TEMPLATE"]; onDisk(file) {
		r.mounted(file, "JOB_TEMPLATE", false)
	}
	credentials := []string{"GOOGLE_APPLICATION_CREDENTIALS", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"}
	if file := r.values["PREFECT_API_SSL_CERT_FILE"]; file != "" && !r.mounted(file, "PREFECT_API_SSL_CERT_FILE", true) {
		r.hint("PREFECT_API_SSL_CERT_FILE=%s is a file of the %s's image that ours does not have: mount it there", file, r.who)
	}
	both := []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "PREFECT__HOME_DIR", "PREFECT__USER_CONFIG_PATH", "PREFECT__BACKEND_CONFIG_PATH"}
	for _, f := range r.o.Env {
		variable := fmt.Sprint(f.Item["name"])
		file, _ := r.plain(variable)
		if f.Flag != r.from("env") {
			continue // one of authorities
		}
		if !path.IsAbs(file) || r.mounted(file, variable, slices.Contains(both, variable)) {
			continue
		}
		if slices.Contains(credentials, variable) || slices.Contains(both, variable) {
			r.hint("%s=%s is a file of the %s's image that ours does not have: mount it there", variable, file, r.who)
		}
	}
	// Where AWS's libraries look unless told otherwise; our home is another one.
	const inHome, variable = "/.aws/credentials", "AWS_SHARED_CREDENTIALS_FILE"
	for _, m := range r.deployed.Pod.Mounts {
		at := path.Clean(fmt.Sprint(m["mountPath"]))
		if file := strings.TrimSuffix(at, "/credentials") + "/credentials"; strings.HasSuffix(file, inHome) && r.mounted(file, variable, false) {
			r.o.Env = append(r.o.Env, install.Field{Item: map[string]any{"name": variable, "value": file}, Flag: r.from(at)})
		}
	}
}

// mounted takes over the mount that contains a file, unless another namespace cannot have
// its volume. It is false if there is no such mount.
func (r *takeover) mounted(file, variable string, both bool) bool {
	mount, volume, found := r.deployed.Pod.Mounted(file)
	if !found || !portable(volume) {
		return found // and named among what is left
	}
	for _, fields := range []struct {
		list *[]install.Field
		item map[string]any
		by   string
	}{{&r.o.Mounts, mount, "mountPath"}, {&r.o.Volumes, volume, "name"}} {
		i := slices.IndexFunc(*fields.list, func(f install.Field) bool { return f.Item[fields.by] == fields.item[fields.by] })
		if i < 0 {
			*fields.list = append(*fields.list, install.Field{Item: fields.item, Flag: "for " + variable, Both: both})
		} else {
			(*fields.list)[i].Both = (*fields.list)[i].Both || both
		}
	}
	what := variable + " is read from there, mounted as in the " + r.who
	if variable == "JOB_TEMPLATE" {
		what = "the Job template is mounted as in the agent"
	}
	for _, source := range sources(volume) {
		if advice := r.copied(source, r.o.Home()); advice != "" {
			r.hintOnce("%s, so it has to be in %s: %s", what, r.o.Home(), advice)
		}
		if mode, ok := modeOf(source); ok && mode&0o004 == 0 {
			r.hintOnce("the volume %v has the mode %#o, and our pods do not run as root: give it 0444 (defaultMode), or they cannot read it", volume["name"], mode)
		}
	}
	return true
}

func (r *takeover) hintOnce(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.hints, text) {
		r.hints = append(r.hints, text)
	}
}

// portable is true of volumes that are made of what can be copied.
func portable(volume map[string]any) bool {
	for _, kind := range []string{"secret", "configMap", "projected", "csi", "downwardAPI"} {
		if volume[kind] != nil {
			return true
		}
	}
	return false
}

// sources are what a volume is made of: itself, or the parts of a projected one.
func sources(volume map[string]any) []map[string]any {
	projected, _ := volume["projected"].(map[string]any)
	if projected == nil {
		return []map[string]any{volume}
	}
	var all []map[string]any
	parts, _ := projected["sources"].([]any)
	for _, part := range parts {
		source, _ := part.(map[string]any)
		if secret, ok := source["secret"].(map[string]any); ok { // called secretName in a volume
			source = map[string]any{"secret": map[string]any{"secretName": secret["name"]}}
		}
		all = append(all, source)
	}
	return append(all, map[string]any{"projected": projected})
}

func modeOf(source map[string]any) (mode int, ok bool) {
	for _, kind := range []string{"secret", "configMap", "projected"} {
		if of, is := source[kind].(map[string]any); is {
			mode, ok = of["defaultMode"].(int)
			return mode, ok
		}
	}
	return 0, false
}

// fields takes over where it may run and whom it finds by which name.
func (r *takeover) fields() {
	fields := r.deployed.Pod.Fields
	for _, name := range []string{"affinity", "dnsConfig", "dnsPolicy", "hostAliases", "nodeSelector", "priorityClassName", "tolerations"} {
		if value := fields[name]; value != nil && value != "ClusterFirst" && !hollow(value) {
			r.o.Pod = append(r.o.Pod, install.PodField{Name: name, Value: value, Flag: r.from("pod")})
		}
	}
}

// hollow is true of a mapping whose values are all null, as charts print it.
func hollow(value any) bool {
	of, isMap := value.(map[string]any)
	for _, v := range of {
		isMap = isMap && v == nil
	}
	return isMap
}

// annotations takes over what others act on, like meshes, autoscalers and what gives
// pods a cloud role, and not what tools remember.
func (r *takeover) annotations() {
	remembered := []string{"kubectl.kubernetes.io/", "checksum/", "prometheus.io/", "kubernetes.io/", "meta.helm.sh/", "container.apparmor.security.beta.kubernetes.io/"}
	meshes := []string{"sidecar.istio.io/", "traffic.sidecar.istio.io/", "proxy.istio.io/", "linkerd.io/", "config.linkerd.io/", "kuma.io/"}
	begins := func(name string, with []string) bool {
		return slices.ContainsFunc(with, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	}
	for _, name := range slices.Sorted(maps.Keys(r.deployed.Pod.Annotations)) {
		if !begins(name, remembered) {
			r.o.Annotations = append(r.o.Annotations, install.PodField{Name: name, Value: r.deployed.Pod.Annotations[name], Flag: r.from("pod"), Launcher: !begins(name, meshes)})
		}
	}
}

// account says what happens to its service account. A launcher does not need its
// permissions, but may need a cloud role that belongs to it.
func (r *takeover) account() {
	account := r.deployed.Pod.Account
	if account == "" || account == "default" {
		return
	}
	roles := slices.DeleteFunc(slices.Sorted(maps.Keys(r.deployed.Pod.AccountAnnotations)), func(name string) bool {
		return !strings.HasPrefix(name, "eks.amazonaws.com/") && name != "iam.gke.io/gcp-service-account"
	})
	for _, name := range roles {
		r.o.AccountAnnotations = append(r.o.AccountAnnotations, install.PodField{Name: name, Value: r.deployed.Pod.AccountAnnotations[name], Flag: r.from("service account")})
	}
	if len(roles) > 0 {
		r.hint("the launcher also gets the cloud role of the %s's service account %s (%s): let the role trust the service account %s of %s",
			r.who, account, strings.Join(roles, ", "), install.LauncherAccount, r.o.Home())
		return
	}
	if r.who == "worker" {
		return // it has the worker's Role, which ours has too; flows choose their own
	}
	r.leave("the agent's service account %s: the launcher has one of its own, %s, with the Role that it needs. If it has a cloud role (for templates on S3 or Google Cloud Storage), "+
		"`kubectl -n %s get serviceaccount %s -o yaml` shows that as an annotation: add it to ours with kubectl annotate, and let the role trust ours",
		account, install.LauncherAccount, cmp.Or(r.deployed.Namespace, "NAMESPACE"), account)
}

func (r *takeover) notTakenOver() {
	pod := r.deployed.Pod
	for _, mount := range pod.Mounts {
		at := mount["mountPath"]
		if r.who == "worker" && r.ofTheChart(mount) {
			continue
		}
		if slices.ContainsFunc(r.o.Mounts, func(f install.Field) bool { return f.Item["mountPath"] == at }) {
			continue
		}
		why := "no setting names a file in it"
		if _, volume, found := pod.Mounted(path.Clean(fmt.Sprint(at))); found && !portable(volume) {
			why = "its content belongs to the " + r.who + "'s pod or node; if a launcher needs it, put it into a ConfigMap or Secret"
		}
		r.leave("the volume %v at %v: %s", mount["name"], at, why)
	}
	if names := pod.PullSecrets; len(names) > 0 && r.values["IMAGE_PULL_SECRETS"] == "" {
		r.leave("imagePullSecrets (%s), which are for the %s's image: if ours comes from that registry too, give --image-pull-secrets%s", strings.Join(names, ", "), r.who, map[string]string{"agent": "; the flows' pods get them as well"}[r.who])
	}
	beside := slices.DeleteFunc(slices.Clone(pod.Beside), func(name string) bool { return name == "sync-base-job-template" }) // baseJobTemplate tells of it
	if len(beside) > 0 {
		r.leave("the containers beside the %s: %s", r.who, strings.Join(beside, ", "))
	}
	if resources, _ := pod.Container["resources"].(map[string]any); len(resources) > 0 {
		r.leave("the %s's resources: a launcher needs less memory and sets its own", r.who)
	}
	usual := []string{
		"affinity", "dnsConfig", "dnsPolicy", "hostAliases", "nodeSelector", "priorityClassName", "tolerations", // taken
		"restartPolicy", "schedulerName", "terminationGracePeriodSeconds", "serviceAccount", "automountServiceAccountToken", "enableServiceLinks", "priority",
		"image", "imagePullPolicy", "ports", "livenessProbe", "readinessProbe", "startupProbe", "resources", "terminationMessagePath", "terminationMessagePolicy",
	}
	if r.who == "worker" {
		usual = append(usual, "securityContext", "workingDir") // the chart always sets them, and ours is stricter
	}
	var others []string
	for of, fields := range map[string]map[string]any{"": pod.Fields, "container's ": pod.Container} {
		for name, value := range fields {
			if given, isMap := value.(map[string]any); value != nil && (!isMap || len(given) > 0) && !slices.Contains(usual, name) {
				others = append(others, of+name)
			}
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		r.leave("of the %s's pod: %s", r.who, strings.Join(others, ", "))
	}
	labels := slices.DeleteFunc(slices.Sorted(maps.Keys(pod.Labels)), func(name string) bool {
		return name == "app" || name == "pod-template-hash" || name == "component" || name == "release" || name == "prefect-version" || strings.HasPrefix(name, "app.kubernetes.io/") || strings.HasPrefix(name, "helm.sh/")
	})
	if len(labels) > 0 {
		r.leave("the pod's labels %s: if a NetworkPolicy or a Service selects by them, let it select ours too", strings.Join(labels, ", "))
	}
}

// ofTheChart is true of mounts that the worker's chart always makes: for its home, and for the
// base job template, of which baseJobTemplate tells.
func (r *takeover) ofTheChart(mount map[string]any) bool {
	at, _ := mount["mountPath"].(string)
	return mount["name"] == "scratch" || path.Base(at) == "baseJobTemplate.json"
}

// pullSecrets says how the flows' pull Secrets get where our own pods read them, and
// where the flows move.
func (r *takeover) pullSecrets() {
	var names config.Names
	_ = names.UnmarshalText([]byte(r.values["IMAGE_PULL_SECRETS"])) // startable finds the same
	for _, name := range names {
		for _, into := range slices.Compact([]string{r.o.Home(), r.o.JobNamespace}) {
			if into != r.jobs {
				r.hint("pods pull images by the Secret %s, so it has to be in %s: %s", name, into, copyCommand(r.jobs, "secret", name, into))
			}
		}
	}
}
