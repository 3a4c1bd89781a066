"""Signed certificates: made and checked by the field's tool; a changed byte, another key or no signature fail."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.signing import SigningError, sign_file, verify_file
from tests.cli.test_verify_command import entries_of, write_run

HAS_TOOL = importlib.util.find_spec("model_signing") is not None and importlib.util.find_spec("OpenSSL") is not None
signs = pytest.mark.skipif(not HAS_TOOL, reason="signatures need the extra `sign` (model-signing, pyopenssl)")


def key_pair(folder, name):
    """Paths of a private and a public key in PEM, elliptic curve P-256."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def run(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights of the model")
    return write_run(tmp_path / "run", entries_of(model))


@pytest.fixture
def signed(run, tmp_path):
    """A signed run, and the public key."""
    private, public = key_pair(tmp_path, "mine")
    assert call(["report", str(run), "--formats", "certificate", "--sign", str(private), "--quiet"]) == 0
    assert (run / "certificate.json.sig").is_file()
    return run, public


def states(capsys, run, *arguments):
    capsys.readouterr()
    code = call(["verify", str(run), "--json", *map(str, arguments)])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return code, {check["name"]: check["state"] for check in checks}


@signs
def test_a_signed_certificate_is_verified(signed, capsys):
    run, public = signed
    code, found = states(capsys, run, "--public-key", public)
    assert (code, found["signature"]) == (0, "passed")


@signs
def test_a_signature_that_nobody_asked_for_is_told(signed, capsys):
    code, found = states(capsys, signed[0])
    assert (code, found["signature"]) == (0, "not checked")


@signs
def test_a_tampered_certificate_fails_even_by_one_space(signed, capsys):
    run, public = signed
    path = run / "certificate.json"
    path.write_bytes(path.read_bytes() + b" ")
    code, found = states(capsys, run, "--public-key", public)
    assert (code, found["signature"]) == (1, "failed")
    assert found["score"] == "passed", "only the signature can see this"


@signs
def test_the_key_of_somebody_else_fails(signed, tmp_path, capsys):
    _, other = key_pair(tmp_path, "other")
    assert states(capsys, signed[0], "--public-key", other)[1]["signature"] == "failed"


@signs
def test_the_signature_of_another_file_fails(signed, tmp_path, capsys):
    run, public = signed
    other = tmp_path / "other.json"
    other.write_text("{}")
    signature = sign_file(other, tmp_path / "mine.pem")
    code, found = states(capsys, run, "--public-key", public, "--signature", signature)
    assert (code, found["signature"]) == (1, "failed")


@signs
def test_what_is_no_key_is_one_line(run, tmp_path, capsys):
    (tmp_path / "no.pem").write_text("no key")
    assert call(["report", str(run), "--sign", str(tmp_path / "no.pem"), "--quiet"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "cannot be signed with it" in told[0]


def test_no_signature_is_a_failure_where_a_key_is_given(run, tmp_path, capsys):
    (tmp_path / "any.pub").write_text("key")
    code, found = states(capsys, run, "--public-key", tmp_path / "any.pub")
    assert (code, found["signature"]) == (1, "failed")


def test_without_the_extra_the_error_names_it(run, tmp_path, monkeypatch):
    for name in ("model_signing", "model_signing.signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "key").write_text("key")
    (run / "certificate.json.sig").write_text("{}")
    with pytest.raises(SigningError, match=r"need the extra `sign`.*pip install"):
        verify_file(run / "certificate.json", tmp_path / "key")
    with pytest.raises(SigningError, match="need the extra `sign`"):
        sign_file(run / "certificate.json", tmp_path / "key")
    assert call(["report", str(run), "--sign", str(tmp_path / "key"), "--quiet"]) == 1


def test_a_signature_without_a_key_is_wrong_use(run, tmp_path):
    (tmp_path / "x.sig").write_text("{}")
    assert call(["verify", str(run), "--signature", str(tmp_path / "x.sig")]) == 2


def test_certify_asks_for_the_extra_before_anything_is_run(tmp_path, monkeypatch, capsys):
    """Also in a dry run: it is there to say what would go wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    (tmp_path / "key").write_text("key")
    for more in ([], ["--dry-run"]):
        assert call(["certify", "aprqa/tiny-qwen2", "--tier", "mvp", "--sign", "key", *more]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith("error: signatures need the extra `sign`")
        assert shown.err.count("\n") == 1
        assert shown.out == ""


def test_certify_with_a_key_that_is_not_there_is_wrong_use(tmp_path, capsys):
    assert call(["certify", "a/b", "--sign", str(tmp_path / "none.pem"), "--dry-run"]) == 2
    assert "does not exist" in capsys.readouterr().err


@signs
def test_certify_refuses_what_is_no_key_before_anything_is_run(tmp_path, capsys):
    (tmp_path / "no.pem").write_text("no key")
    assert call(["certify", "a/b", "--sign", str(tmp_path / "no.pem"), "--dry-run"]) == 1
    assert "nothing can be signed with it" in capsys.readouterr().err


@signs
def test_certify_says_in_a_dry_run_what_it_would_sign(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    private, _ = key_pair(tmp_path, "mine")
    assert call(["certify", "aprqa/tiny-qwen2", "--tier", "mvp", "--sign", str(private), "--dry-run"]) == 0
    assert f"Signature: certifications/tiny-qwen2/certificate.json, with {private}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@signs
@pytest.mark.parametrize("written", [True, False])
def test_certify_signs_the_certificate_of_each_model_that_has_one(run, tmp_path, monkeypatch, capsys, written):
    """The run of pytest is one that was made before; without a score there is no certificate and no signature."""
    from pytest_aprqa.cli import run as run_command

    private, public = key_pair(tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "certifications" / "tiny-qwen2"

    def captured_pytest(arguments):
        shutil.copytree(run, folder)
        if not written:
            (folder / "certificate.json").unlink()
        return 0, ""

    monkeypatch.setattr(run_command, "captured_pytest", captured_pytest)
    call(["certify", "aprqa/tiny-qwen2", "--tier", "mvp", "--sign", str(private), "--registry", "m.csv", "--json"])
    (result,) = json.loads(capsys.readouterr().out)
    if not written:
        assert result["signature"] is None
        return
    assert result["signature"] == "certifications/tiny-qwen2/certificate.json.sig"
    verify_file(folder / "certificate.json", public)
