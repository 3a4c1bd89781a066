"""A stand-in for the `apr` program: speaks the forms of 0.72.3 (or the older one) and misbehaves when told to.

FAKE_APR says how: a word for the prompt "guilty". FAKE_APR_FORM=old is the older form, without `surface`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE = os.environ.get("FAKE_APR", "")
OLD = os.environ.get("FAKE_APR_FORM") == "old"
FLAGS = {
    "run": ["prompt", "max-tokens", "no-gpu", "gpu", "json", "chat", "temperature", "seed"],
    "chat": ["max-tokens", "no-gpu", "json", "temperature"],
    "serve run": ["port", "no-gpu", "gpu"],
}


def value_of(arguments: list[str], flag: str, default: str = "") -> str:
    for number, word in enumerate(arguments):
        if word == flag:
            return arguments[number + 1]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return default


def misbehave() -> None:
    if MODE == "panic":
        print("thread 'main' panicked at src/lib.rs:1:1:\ndivision by zero", file=sys.stderr)
        sys.exit(101)
    if MODE == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if MODE == "hang":
        time.sleep(600)
    if MODE.startswith("exit"):
        print(f"error: it is exit {MODE[4:]}", file=sys.stderr)
        sys.exit(int(MODE[4:]))
    if MODE == "silent":
        sys.exit(0)
    if MODE == "noise":
        print("Hello { this is no JSON")
        sys.exit(0)


def run(arguments: list[str]) -> None:
    prompt = value_of(arguments, "--prompt") or value_of(arguments, "-p")
    tokens = int(value_of(arguments, "--max-tokens", "8"))
    backend = {"requested": "default", "ran": "cpu", "fell_back": False}
    status, error = "ok", None
    if prompt == "guilty":
        misbehave()
        if MODE == "fell-back":
            backend = {"requested": "cpu", "ran": "cpu", "fell_back": True}
        if MODE == "ran-on-gpu":
            backend["ran"] = "cuda"
        if MODE == "refused":
            status, error = "refused", {"kind": "x", "message": "not today", "exit_code": 0}
    ids = list(range(min(tokens, 3)))
    answer = {"text": f"<{prompt}>", "tokens": ids, "prompt_tokens": len(prompt.split()), "finish_reason": None}
    if prompt == "guilty" and MODE == "no-text":
        del answer["text"]
    print("[noise] loading", file=sys.stderr)
    print(json.dumps(answer | {"backend": backend, "status": status, "error": error, "argv": arguments}, indent=2))


def chat(arguments: list[str]) -> None:
    lines = sys.stdin.read().splitlines()
    if "guilty" in lines:
        misbehave()
    print("\n=== Model Chat (APR Format) ===\n\nCommands:\n  /quit     Exit the chat\n")
    for line in lines:
        print("You: [3 tokens in 0.0s = 597.2 tok/s]")
        print("[Error: no answer]" if line == "guilty" and MODE == "failed-turn" else f"Assistant: <{line}>\nand more")
        print()
    print('You: \nGoodbye!\n{"backend":{"requested":"cpu","ran":"cpu","fell_back":false}}')


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({"status": "healthy" if OLD else "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["prompt"] == "guilty":
            os.kill(os.getpid(), signal.SIGABRT)
            time.sleep(60)
        self.answer({"choices": [{"text": f"<{body['prompt']}>", "finish_reason": "length"}], "usage": {
            "prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}})  # fmt: skip

    def answer(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


def serve(arguments: list[str]) -> None:
    if MODE == "port-taken":
        print("error: Inference failed: address in use", file=sys.stderr)
        sys.exit(8)
    Path(os.environ["TMPDIR"], "copy").write_text("of the model", encoding="utf-8")
    print("Inference server listening", os.environ["TMPDIR"], flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(value_of(arguments, "--port"))), Handler).serve_forever()


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        if MODE == "other-program":
            print("ls (GNU coreutils) 9.1")
        elif OLD:
            print("apr 0.2.18 (abc1234)")
        else:
            print(json.dumps({"name": "apr", "version": "0.72.3", "git_sha": "9c34b9a91", "cuda_feature": False}))
    elif arguments == ["surface"] and not OLD:
        commands = [
            {"path": path.split(), "args": [{"long": flag, "short": None} for flag in flags]}
            for path, flags in FLAGS.items()
        ]
        print(json.dumps({"schema": "apr-cli-surface/v1.1", "commands": commands}))
    elif arguments[-1:] == ["--help"]:
        command = " ".join(arguments[:-1])
        print("Usage: apr\n" + "".join(f"      --{flag} <X>\n" for flag in FLAGS.get(command, ["port", "no-gpu"])))
    elif arguments[:1] == ["run"]:
        run(arguments[1:])
    elif arguments[:1] == ["chat"]:
        chat(arguments[1:])
    elif arguments[:2] == ["serve", "run"] and not OLD:
        serve(arguments[2:])
    elif arguments[:1] == ["serve"] and OLD:
        serve(arguments[1:])
    else:
        print(f"error: unrecognized {arguments[:2]}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
