"""The history stays within the bounds that the settings give, while executions go on."""

from conftest import create, executions, run_body, wait_for


def test_a_daemon_keeps_the_newest_executions_of_a_run(make_daemon, own_models):
    daemon = make_daemon(models=own_models, options=["--retention-count", "8"]).start()
    with daemon.client(daemon.create_key("alice")) as api:
        run_id = create(api, **run_body(model_name="line", parameters={"data": [[3]]}))
        made = []
        for _ in range(40):
            answer = api.post(f"/api/scheduled/{run_id}/trigger", headers={"Prefer": "wait=30"})
            assert answer.status_code == 200, answer.text
            made.append(answer.json()["execution_id"])
        kept = wait_for(lambda: (found := executions(api, run_id, limit=1000)) and len(found) <= 10 and found,
                        "the bound")
        assert [execution["execution_id"] for execution in kept] == made[::-1][:len(kept)]
        assert api.get(f"/api/executions/{made[0]}").status_code == 404
        assert api.get(f"/api/scheduled/{run_id}").json()["last_run"] is not None
