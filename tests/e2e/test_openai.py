"""Models behind OpenAI-compatible servers: what is asked, what comes of it, by the clock and by trigger."""

import http.server
import json
import threading

import pytest
from conftest import create, executions, wait_for
from test_remote import put, trigger


class Handler(http.server.BaseHTTPRequestHandler):
    """As such servers do: it completes a chat with what it was told last, and embeds a text as its length."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), asked))
        if self.headers.get("Authorization") != "Bearer a-key":
            self.answer(401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}})
        elif asked["model"] == "busy" and len(self.server.requests) == 1:
            self.answer(429, {"error": {"message": "Rate limit reached"}}, Retry_After="1")
        elif asked["model"] == "mute":
            self.answer(200, {"id": "x", "choices": []})
        elif self.path.split("?")[0] == "/v1/embeddings":
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            self.answer(200, {"object": "list", "model": asked["model"], "data": [
                {"object": "embedding", "index": i, "embedding": [len(text), 0.1]} for i, text in enumerate(texts)]})
        elif self.path.split("?")[0] == "/v1/chat/completions":
            self.answer(200, {"id": "c-1", "object": "chat.completion", "model": asked["model"], "choices": [
                {"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "You said: " + asked["messages"][-1]["content"]}}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}})
        else:
            self.answer(404, {"error": {"message": "no such page"}})


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def daemon(make_daemon, models, tmp_path_factory):
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "key").write_text("a-key\n")
    return make_daemon(models, ["--secrets", str(secrets)]).start()


def put_writer(models, server, name, **settings):
    return put(models, name, backend="openai", **{"url": server.url, **settings},
               headers={"Authorization": "Bearer ${secret:key}"})


def test_a_prompt_with_variables_is_completed(api, models, server):
    model = put_writer(models, server, "writer", model="small", system="Be brief.",
                       prompt="Summarise {{text}} of {{scheduled_for}}.", options={"temperature": 0, "max_tokens": 20})
    execution = trigger(api, model, {"variables": {"text": "\"last night\""}, "max_tokens": 50})
    assert execution["status"] == "succeeded", execution
    path, headers, asked = server.requests[-1]
    said = f'Summarise "last night" of {execution["scheduled_for"]}.'
    assert path == "/v1/chat/completions"
    assert asked == {"model": "small", "temperature": 0, "max_tokens": 50,
                     "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}]}
    assert headers["Idempotency-Key"] == execution["execution_id"]
    assert execution["result"]["choices"][0]["message"]["content"] == "You said: " + said
    assert execution["result"]["usage"]["total_tokens"] == 8


def test_it_is_completed_by_the_clock_and_the_result_is_what_the_pointer_says(api, models, server):
    model = put_writer(models, server, "clock", result="/choices/0/message/content")
    run_id = create(api, model_name=model, schedule="* * * * * *",
                    parameters={"model": "large", "prompt": "{{run_id}}"})
    done = wait_for(lambda: [e for e in executions(api, run_id) if e["status"] == "succeeded"], "a slot")
    assert done[0]["result"] == "You said: " + run_id
    assert api.delete(f"/api/scheduled/{run_id}").status_code == 200


def test_texts_are_embedded(api, models, server):
    model = put_writer(models, server, "embed", url=server.url + "/?api-version=7", task="embeddings", result="/data")
    execution = trigger(api, model, {"input": ["a", "bcd"], "dimensions": 2})
    assert [item["embedding"] for item in execution["result"]] == [[1, 0.1], [3, 0.1]]
    assert server.requests[-1][0] == "/v1/embeddings?api-version=7"
    assert server.requests[-1][2] == {"model": "embed", "input": ["a", "bcd"], "dimensions": 2}


def test_parameters_that_do_not_fit_are_refused_when_the_run_is_made(api, models, server):
    model = put_writer(models, server, "strict", prompt="{{name}}")
    wait_for(lambda: api.get(f"/api/models/{model}").status_code == 200, "the model")
    for parameters, words in (({}, "parameters.variables has no 'name'"),
                              ({"variables": {"name": "x"}, "stream": True}, "parameters.stream"),
                              ({"input": "x"}, "parameters.input is for embeddings")):
        answer = api.post("/api/scheduled", json={"model_name": model, "schedule": "@daily", "parameters": parameters})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"] == "InvalidParameters"
        assert words in answer.text


def test_what_such_a_server_refuses_is_told(api, models, server):
    model = put(models, "stranger", backend="openai", url=server.url, prompt="a")
    execution = trigger(api, model, {}, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelError"
    assert "answered 401" in execution["error"]["message"]
    assert "Incorrect API key provided" in execution["error"]["message"]
    model = put_writer(models, server, "mute", prompt="a")
    execution = trigger(api, model, {}, retry={"max_attempts": 0})
    assert execution["status"] == "failed" and execution["error"]["type"] == "ModelError"
    assert "has nothing at '/choices/0'" in execution["error"]["message"]


def test_a_busy_server_is_asked_again_when_it_says(api, models, server):
    server.requests.clear()
    model = put_writer(models, server, "busy", prompt="a")
    run_id = create(api, model_name=model, schedule="* * * * * *", parameters={}, overlap="skip",
                    retry={"max_attempts": 2, "backoff": "1s"})
    wait_for(lambda: any(e["trigger"] == "retry" and e["status"] == "succeeded" for e in executions(api, run_id)),
             "the second attempt")
    api.delete(f"/api/scheduled/{run_id}")
