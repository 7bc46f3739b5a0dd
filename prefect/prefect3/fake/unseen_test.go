package fake_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

const (
	deploymentA = "9ec55ce4-2907-4d27-a9a0-d665e29ba3c5"
	// template is how the recording spells it.
	template  = "…7 KB default template"
	flowOfAll = "ca684233-f77a-442e-9859-53606625cf6c"
)

// made makes a run that stands for a recorded one.
func (r *replay) made(id string, o fake.Order) string {
	if o.At.IsZero() {
		o.At = r.now
	}
	r.ours[id] = r.CreateRuns(o)[0]
	return r.ours[id]
}

// deployed makes a deployment that stands for a recorded one.
func (r *replay) deployed(id string, body fields) string {
	for name, value := range (fields{
		"flow_id": r.ours[flowOfAll], "work_queue_name": "default", "entrypoint": "flow.py:hello", "path": "/opt",
	}) {
		if _, given := body[name]; !given {
			body[name] = value
		}
	}
	r.ours[id] = r.ok("POST", "/deployments/", body).(fields)["id"].(string)
	return r.ours[id]
}

// becomes returns a step that brings a recorded run into states.
func becomes(id string, all ...fake.Proposal) func(*replay) {
	return func(r *replay) {
		if r.ours[id] == "" {
			r.made(id, fake.Order{Deployment: r.ours[deploymentA]})
		}
		for _, p := range all {
			r.Propose(r.ours[id], p)
		}
	}
}

func claimed(message string) fake.Proposal {
	return fake.Proposal{Type: "PENDING", Message: message, Transition: one}
}

func begun() fake.Proposal { return fake.Proposal{Type: "RUNNING"} }

// unseen is what happened on the real server before a line and was not recorded.
func unseen() map[int]func(*replay) {
	all := map[int]func(*replay){
		14: func(r *replay) {
			r.CreatePool(fake.Pool{Name: "d1", Type: "docker"})
			r.CreatePool(fake.Pool{Name: "k3", Template: template})
		},
		16: func(r *replay) {
			r.made("3e14f7be-d545-410e-a115-08d86ef5d783", fake.Order{Deployment: r.ours[deploymentA], At: at("11:32:49.950823")})
		},
		20: func(r *replay) { r.now = at("11:31:58.5") },
		36: becomes("86e13ab7-e680-4502-8eae-01c42f12cc87", fake.Proposal{Type: "PENDING", Name: "InfrastructurePending", Message: "m InfrastructurePending"}),
		38: becomes("86e13ab7-e680-4502-8eae-01c42f12cc87", begun()),
		40: becomes("86e13ab7-e680-4502-8eae-01c42f12cc87", fake.Proposal{Type: "CANCELLING"}),
		42: becomes("86e13ab7-e680-4502-8eae-01c42f12cc87", fake.Proposal{Type: "CANCELLED", Message: "done"}),
		46: becomes("ce11adce-27ed-461d-94a7-d8e423342387", claimed("")),
		50: becomes("0995bb56-db59-49a9-88cd-4e36ea55e106", claimed(""), begun(), fake.Proposal{Type: "COMPLETED"}),
		52: becomes("a909c330-add8-4ad7-b8a5-34f559a36ed9", claimed(""), begun(), fake.Proposal{Type: "FAILED"}),
		54: becomes("40b86c8b-549c-43d4-b7c3-0383b0840af7", claimed(""), fake.Proposal{Type: "CRASHED"}),
		55: becomes("36518793-4109-4dbd-8903-1ae3cd44f77a", claimed("")),
		59: func(r *replay) {
			r.deployed("cefdb73a-9c00-4ca5-8aa3-7b6b4c318fb0", fields{"name": "gone", "work_pool_name": "k1"})
		},
		110: becomes("92567658-5ad5-4676-8120-69005aa7e442", claimed(""), begun()),
		111: func(r *replay) {
			const id = "174064b8-c8b4-441d-b583-ad6a80bd3ce2"
			becomes(id, claimed(""), begun())(r)
			r.ok("POST", "/flow_runs/"+r.ours[id]+"/set_state", fields{"state": fields{"type": "PAUSED", "name": "Suspended", "state_details": fields{
				"pause_timeout": at("11:44:55"), "pause_reschedule": true, "pause_key": "k",
			}}})
		},
		113: func(r *replay) {
			r.deployed("3c30c82b-c61f-4e1d-84df-91578e3cbdcb", fields{"name": "cron", "work_pool_name": "k2"})
		},
		120: func(r *replay) {
			r.CreateBlock("secret", "reg-token", map[string]any{"value": "s3cr3t!"}, "value")
		},
		128: func(r *replay) {
			r.deployed("e4465ce0-bce0-474f-83ff-f280bb5a41b0", fields{"name": "golden dep", "work_pool_name": "k1"})
		},
		131: func(r *replay) { r.CreatePool(fake.Pool{Name: "My Pool Größe"}) },
		136: func(r *replay) {
			r.deployed("db422ff7-8f47-402f-8034-545ceb52cf93", fields{"name": "other", "work_pool_name": "k2"})
		},
		139: func(r *replay) {
			const id = "5eaec722-ce20-4657-8e57-eb760f06e859"
			r.made(id, fake.Order{Deployment: r.ours[deploymentA], At: at("11:54:57.767226")})
			r.Propose(r.ours[id], claimed(""))
		},
		137: func(r *replay) { r.offered("k2", fields{}) },
		144: becomes("37615cf9-5ea5-4521-b2f6-d7cc756a8a37", fake.Proposal{Type: "SCHEDULED"}),
	}
	for _, more := range []map[int]func(*replay){unseenOfLimits(), unseenOfLeases()} {
		maps.Copy(all, more)
	}
	return all
}

// unseenOfLimits is about the pools lim, lq2 and hold.
func unseenOfLimits() map[int]func(*replay) {
	const tourmaline, thirdOfLim, oneOfQ1, twoOfQ1 = "8c274751-cc32-4f17-8824-82430a90cd70", "lim 4", "q1 2", "q1 3"
	return map[int]func(*replay){
		61: func(r *replay) {
			r.CreatePool(fake.Pool{Name: "lim", Template: template, Limit: new(2)})
			d := r.deployed("8cfd368e-9ea5-4ab8-a37b-20742a7b73a7", fields{"name": "dlim", "work_pool_name": "lim"})
			r.now = at("11:33:59")
			for id, due := range map[string]string{
				"5a82b904-679d-405f-ab11-639fcbb03050": "11:33:58.082177", "c5132448-71ca-4c2b-87c4-a29fa4d8fd67": "11:33:58.196925",
				tourmaline: "11:33:58.3", thirdOfLim: "11:33:58.4",
			} {
				r.made(id, fake.Order{Deployment: d, At: at(due)})
			}
		},
		62: func(r *replay) {
			for _, id := range []string{"5a82b904-679d-405f-ab11-639fcbb03050", "c5132448-71ca-4c2b-87c4-a29fa4d8fd67", tourmaline, thirdOfLim} {
				r.Propose(r.ours[id], claimed(""))
			}
		},
		64: func(r *replay) { r.CreateQueue(fake.Queue{Pool: "lim", Name: "q1"}) },
		68: func(r *replay) { r.offered("lim", fields{}) },
		83: func(r *replay) { r.CreatePool(fake.Pool{Name: "lq2", Template: template, Limit: new(5)}) },
		84: func(r *replay) {
			q1 := r.deployed("b77ecda5-452d-436a-a8f0-c1345fa56fd2", fields{"name": "lq1", "work_pool_name": "lq2", "work_queue_name": "q1"})
			plain := r.deployed("e4193839-6403-44bc-8336-5a13e1eabae3", fields{"name": "lqd", "work_pool_name": "lq2"})
			r.now = at("11:34:53")
			r.made("03ad8c78-4bc5-4815-935d-a24b687d53c7", fake.Order{Deployment: q1, At: at("11:34:52.095391")})
			r.made(oneOfQ1, fake.Order{Deployment: q1, At: at("11:34:52.2")})
			r.made(twoOfQ1, fake.Order{Deployment: q1, At: at("11:34:52.3")})
			r.made("07964857-8358-474d-b80c-38e7a452400f", fake.Order{Deployment: plain, At: at("11:34:52.442669")})
			r.made("4200bd75-a004-41de-b9f2-939d4b23eb10", fake.Order{Deployment: plain, At: at("11:34:52.738452")})
		},
		86: func(r *replay) {
			r.Propose(r.ours[oneOfQ1], claimed(""))
			r.Propose(r.ours[twoOfQ1], claimed(""))
		},
		91: func(r *replay) {
			d := r.deployed("628fc51f-b6ef-49fd-85b9-69fc90f3fd31", fields{"name": "dl0", "work_pool_name": "lq2", "concurrency_limit": 1})
			limit := r.ok("GET", "/deployments/"+d, nil).(fields)["global_concurrency_limit"].(fields)
			r.ours["46c4fc55-116e-4f01-96ee-3450243521d5"] = limit["id"].(string)
		},
		92: func(r *replay) {
			r.made("31392c57-6849-4ea3-bd53-36a47b55dc0d", fake.Order{Deployment: r.ours["628fc51f-b6ef-49fd-85b9-69fc90f3fd31"]})
		},
		99:  func(r *replay) { r.Propose(r.ours["07964857-8358-474d-b80c-38e7a452400f"], claimed("")) },
		150: func(r *replay) { r.CreatePool(fake.Pool{Name: "hold", Template: template, Limit: new(3)}) },
		153: func(r *replay) {
			hi := r.deployed("59a1033b-3436-4069-a343-8b79cdf79c6f", fields{"name": "hi", "work_pool_name": "hold", "work_queue_name": "hi"})
			plain := r.deployed("6e070486-7f7e-4246-acdf-da0169f5ffc7", fields{"name": "plain", "work_pool_name": "hold"})
			lo := r.deployed("lo", fields{"name": "lo", "work_pool_name": "hold", "work_queue_name": "lo"})
			r.now = at("12:12:43")
			r.made("lo run", fake.Order{Deployment: lo, At: at("12:12:32")})
			r.made("3bc007be-0f4a-4e2a-bfd3-8784ccdcc8ad", fake.Order{Deployment: plain, At: at("12:12:33.787812")})
			r.made("f5fcfe68-bac4-4f10-96d7-7cd7e99b6f71", fake.Order{Deployment: hi, At: at("12:12:41.754155")})
			r.made("1ff37f7c-cbbd-4d96-b6f5-df75d2564948", fake.Order{Deployment: hi, At: at("12:12:42.051043")})
		},
	}
}

// unseenOfLeases is about the slots of deployments.
func unseenOfLeases() map[int]func(*replay) {
	const dl, dl2 = "a14b51cc-4016-4c85-a8a0-79b47f87e622", "cancels new ones"
	limited := func(r *replay, id, name string) string {
		return r.deployed(id, fields{"name": name, "work_pool_name": "k2", "concurrency_limit": 1})
	}
	return map[int]func(*replay){
		73: func(r *replay) {
			d := r.deployed(dl, fields{"name": "dl1", "work_pool_name": "lim", "concurrency_limit": 1})
			r.made("3f1c0014-dcc7-400d-b77d-928754d29439", fake.Order{Deployment: d, At: at("11:34:01.582051")})
			r.made("7294f8db-ac49-44d5-b17a-97bfe81db9ab", fake.Order{Deployment: d, At: at("11:34:01.6")})
		},
		78: func(r *replay) { r.offered("lim", fields{}) }, // its deployments are READY then
		79: func(r *replay) { r.End(r.ours["3f1c0014-dcc7-400d-b77d-928754d29439"], "CRASHED", "") },
		81: func(r *replay) {
			d := r.deployed(dl2, fields{"name": "dl2", "work_pool_name": "lim", "concurrency_limit": 1, "concurrency_options": fields{"collision_strategy": "CANCEL_NEW"}})
			r.Propose(r.made("first of dl2", fake.Order{Deployment: d}), claimed(""))
			r.made("1ef81b46-7ab3-4dae-a21f-c664bdf68b11", fake.Order{Deployment: d})
		},
		129: func(r *replay) {
			d := r.deployed("ec733fea-9c48-4ce5-8c84-60a7efc22502", fields{
				"name": "dlease", "work_pool_name": "k2", "concurrency_limit": 1, "concurrency_options": fields{"collision_strategy": "ENQUEUE", "grace_period_seconds": 60},
			})
			r.Propose(r.made("first of dlease", fake.Order{Deployment: d}), claimed(""))
		},
		140: func(r *replay) {
			const id = "b1747100-3692-48ea-84c7-f5f272723b4e"
			r.Propose(r.made(id, fake.Order{Deployment: limited(r, "lost", "lost")}), claimed(""))
			r.Restart() // without its lease the run fills its own limit
			r.header.Set("User-Agent", fake.Pod)
		},
		141: func(r *replay) {
			const id = "cbe67c42-d078-46ba-b044-0d20bd18d51d"
			r.Propose(r.made(id, fake.Order{Deployment: limited(r, "kept", "kept")}), claimed(""))
		},
		142: func(r *replay) {
			const id = "753e1ca8-7c6e-43d4-a038-3414fc361ead"
			r.made(id, fake.Order{Deployment: limited(r, "claimed", "claimed")})
			r.Propose(r.ours[id], fake.Proposal{Type: "PENDING", Transition: "9e3e3366-f644-41a5-9585-9f18be1c568b"})
		},
		148: func(r *replay) {
			id := r.made("renewed", fake.Order{Deployment: limited(r, "renewed", "renewed")})
			r.Propose(id, claimed(""))
			r.ours["93713012-d4a1-4b35-9830-9e6ea453f963"] = r.Runs(id)[0].Lease
		},
	}
}

// at is a time of the recording.
func at(clock string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, "2026-11-28T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

// headers are those that the recording does not show.
func headers(r *replay, line int) {
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	switch line {
	case 75, 76, 77, 79:
		r.header.Set("User-Agent", "recorder")
	case 140, 141:
		r.header.Set("User-Agent", fake.Pod)
	case 163, 169:
		r.header.Set("Authorization", basic("u:ö"))
	case 170, 171:
		r.header.Set("Authorization", basic("u:p"))
	case 175, 176, 177:
		client := "d6856fc7-ea98-4904-afd3-68a728bc92c9"
		_, text := r.send("GET", "/csrf-token?client="+client, nil)
		var row fields
		json.Unmarshal(text, &row) //nolint:errcheck // the replay shows it
		r.header.Set("Prefect-Csrf-Token", row["token"].(string))
		if line != 175 {
			r.header.Set("Prefect-Csrf-Client", client)
			r.header.Set("X-PREFECT-API-VERSION", map[int]string{176: "0.7.0", 177: "x"}[line])
		}
	}
}
