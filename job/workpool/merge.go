package workpool

import "strings"

// merge makes the variables and the configuration that they are put into of what pool,
// deployment and flow run have, in the worker's order (prefect3 §3.1).
func merge(configuration, defaults, deployment, run *object) (cfg, vars *object, err error) {
	cfg, vars = configuration.clone(), defaults.clone()
	// Once for the pool's defaults, which stand behind all others.
	if err := mergeEnv(cfg, vars.get("env"), true); err != nil {
		return nil, nil, err
	}
	overrides, err := overridden(deployment, run)
	if err != nil {
		return nil, nil, err
	}
	if overrides, err = nested(overrides); err != nil {
		return nil, nil, err
	}
	vars.with(overrides)
	return cfg, vars, mergeEnv(cfg, vars.get("env"), false)
}

// mergeEnv puts env into the configuration's. The pool's default replaces what cannot be
// merged with, which usually is the placeholder for it.
func mergeEnv(cfg *object, env *value, replaces bool) error {
	if env.isEmpty() {
		return nil
	}
	have, ok := cfg.get("env").object()
	if !ok {
		if replaces {
			cfg.set("env", env)
		}
		return nil
	}
	more, ok := env.object()
	if !ok {
		return authorError("%s is %s, but the variables of the work pool's base job template are an object: write {\"NAME\": \"value\"}", env.from, env.kind())
	}
	cfg.set("env", &value{data: have.clone().with(more), from: cfg.get("env").from})
	return nil
}

// overridden are the deployment's job variables with the flow run's over them. Those of env
// are merged, all others replaced.
func overridden(deployment, run *object) (*object, error) {
	all, run := deployment.clone(), run.clone()
	have, isObject := all.get("env").object()
	if env := run.get("env"); isObject && run.has("env") {
		more, ok := env.object()
		if !ok && !env.isEmpty() {
			return nil, authorError("%s is %s, but the deployment's is an object: write {\"NAME\": \"value\"}", env.from, env.kind())
		}
		all.set("env", &value{data: have.clone().with(more), from: all.get("env").from})
		run.remove("env")
	}
	return all.with(run), nil
}

// nested makes objects of names with dots, such as env.NAME. Where there is a plain name,
// too, its fields win.
func nested(flat *object) (*object, error) {
	all := newObject()
	for name, v := range flat.all() {
		if strings.Contains(name, ".") {
			if err := plant(all, strings.Split(name, "."), v); err != nil {
				return nil, err
			}
		}
	}
	for name, v := range flat.all() {
		if !strings.Contains(name, ".") {
			all.set(name, over(all.get(name), v))
		}
	}
	return all, nil
}

// plant sets what is at a path, which it makes.
func plant(into *object, path []string, v *value) error {
	if len(path) > maxDepth {
		return authorError("%s has more than %d dots in its name, and nothing in a Job is as deep", v.from, maxDepth)
	}
	for _, name := range path[:len(path)-1] {
		branch := newObject()
		if at := into.get(name); at != nil {
			below, ok := at.object()
			if !ok {
				return authorError("%s is part of %s, which is %s: leave out one of the two", v.from, at.from, at.kind())
			}
			branch = below.clone()
		}
		into.set(name, &value{data: branch, from: v.from})
		into = branch
	}
	into.set(path[len(path)-1], v)
	return nil
}

// over is a value over another: of two objects all fields, else itself.
func over(below, above *value) *value {
	b, ok := below.object()
	a, isObject := above.object()
	if !ok || !isObject {
		return above
	}
	merged := b.clone()
	for name, v := range a.all() {
		merged.set(name, over(merged.get(name), v))
	}
	return &value{data: merged, from: above.from}
}
