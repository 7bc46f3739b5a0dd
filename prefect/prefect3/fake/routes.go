package fake

import "net/http"

// route lists what the stand-in serves, with the server's own slashes.
func (a *API) route() {
	ok := func(v any) handler { return func(*ask) (int, any) { return http.StatusOK, v } }
	for pattern, h := range map[string]handler{
		"GET /health":     ok(true),
		"GET /ready":      ok(map[string]any{"message": "OK"}),
		"GET /version":    ok("0.8.4"),
		"GET /hello":      ok("👋"),
		"GET /csrf-token": a.giveToken,

		"POST /work_pools/{$}":                            a.createPool,
		"POST /work_pools/filter":                         a.listPools,
		"GET /work_pools/{pool}":                          a.readPool,
		"PATCH /work_pools/{pool}":                        a.changePool,
		"DELETE /work_pools/{pool}":                       a.deletePool,
		"POST /work_pools/{pool}/get_scheduled_flow_runs": a.offer,
		"POST /work_pools/{pool}/concurrency_status":      a.occupied,
		"POST /work_pools/{pool}/queues":                  a.createQueue,
		"POST /work_pools/{pool}/queues/filter":           a.listPoolQueues,
		"GET /work_pools/{pool}/queues/{queue}":           a.readQueue,
		"PATCH /work_pools/{pool}/queues/{queue}":         a.changeQueue,
		"POST /work_pools/{pool}/workers/heartbeat":       a.heartbeat,
		"POST /work_pools/{pool}/workers/filter":          a.listWorkers,
		"DELETE /work_pools/{pool}/workers/{worker}":      a.deleteWorker,
		"POST /work_queues/filter":                        a.listQueues,

		"POST /flows/{$}":                          a.createFlow,
		"GET /flows/{id}":                          a.readFlow,
		"POST /deployments/{$}":                    a.createDeployment,
		"POST /deployments/filter":                 a.listDeployments,
		"GET /deployments/{id}":                    a.readDeployment,
		"PATCH /deployments/{id}":                  a.changeDeployment,
		"DELETE /deployments/{id}":                 a.deleteDeployment,
		"POST /deployments/{id}/create_flow_run":   a.createRunOf,
		"POST /deployments/{id}/pause_deployment":  a.pause,
		"POST /deployments/{id}/resume_deployment": a.unpause,

		"POST /flow_runs/{$}":            a.createRun,
		"POST /flow_runs/filter":         a.listRuns,
		"POST /flow_runs/paginate":       a.pageOfRuns,
		"POST /flow_runs/count":          a.countRuns,
		"GET /flow_runs/{id}":            a.readRun,
		"PATCH /flow_runs/{id}":          a.changeRun,
		"DELETE /flow_runs/{id}":         a.removeRun,
		"PATCH /flow_runs/{id}/labels":   a.labelRun,
		"POST /flow_runs/{id}/set_state": a.setState,
		"POST /flow_runs/{id}/resume":    a.resume,
		"GET /flow_run_states/{$}":       a.readStates,
		"POST /logs/{$}":                 a.log,
		"POST /events":                   a.takeEvents,

		"GET /block_documents/{id}":                                a.readBlock,
		"GET /block_types/slug/{slug}/block_documents/name/{name}": a.readBlockNamed,
		"GET /variables/name/{name}":                               a.readVariable,
		"POST /variables/{$}":                                      a.createVariable,
	} {
		a.handle(pattern, h)
	}
	if !a.options.Cloud {
		a.handle("GET /admin/version", ok(a.options.Version))
	}
	if a.version.since(withSlots) {
		a.handle("GET /v2/concurrency_limits/{limit}", a.readLimit)
		a.handle("PATCH /v2/concurrency_limits/{limit}", a.changeLimit)
	}
	if a.version.since(withLeases) {
		a.handle("POST /v2/concurrency_limits/leases/{id}/renew", a.renew)
	}
	a.mux.HandleFunc("GET /events/out", a.streamEvents)
	a.mux.HandleFunc("GET /events/in", a.takeStream)
}
