"""What of a repository on the hub would run here: from ranges of its files, as from the files themselves."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from backend.api.errors import AccessError, NetworkError, NotFoundError, OfflineError
from backend.hub.network import Network
from backend.hub.ranged import peek_gguf
from backend.hub.remote import open_repository, search
from backend.planner.plan import Machine, plan
from backend.planner.remote import fits, likely, subjects, usual_bytes
from backend.planner.speed import Rates
from backend.planner.subject import subject_of_file
from tests.fakes.hub import FakeHub, Fault
from tests.formats.tiny_gguf import write_tiny_gguf

REPO = "someone/tiny-GGUF"
MACHINE = Machine(cores=8, memory_total=16 * 10**9, memory_free=10 * 10**9, rates=Rates(ram=50e9))


@pytest.fixture
def network() -> Network:
    return Network(silence_s=1.0)


def test_a_gguf_is_planned_as_if_it_were_here(hub: FakeHub, network: Network, tiny_gguf: Path) -> None:
    content = hub.put(REPO, "tiny-Q8_0.gguf", tiny_gguf.read_bytes() + bytes(3_000_000))
    hub.put(REPO, "tiny-F16.gguf", content + bytes(4_000_000))
    answer = fits(REPO, MACHINE, network=network)
    assert {one.choice: one.verdict for one in answer.fits} == {"Q8_0": "fits", "F16": "fits"}
    small, large = answer.fits
    assert large.ram > small.ram
    found, notice = subjects(open_repository(REPO, network=network), network)
    here = subject_of_file(tiny_gguf)
    assert notice == ""
    assert found["Q8_0"].architecture == here.architecture
    assert found["Q8_0"].context == here.context
    header = peek_gguf(open_repository(REPO, network=network), open_repository(REPO, network=network).files[0], network)
    assert found["Q8_0"].weights.total == pytest.approx(len(content) - header.data_offset, rel=0.001)


def test_only_the_header_is_fetched(hub: FakeHub, network: Network, tiny_gguf: Path) -> None:
    hub.put(REPO, "tiny-Q8_0.gguf", tiny_gguf.read_bytes() + bytes(20_000_000))
    assert fits(REPO, MACHINE, network=network).fits
    assert hub.sent("tiny-Q8_0.gguf") <= 2 << 20
    assert {one.token for one in hub.asked} == {""}


def test_a_server_without_ranges_is_not_read_to_the_end(hub: FakeHub, network: Network, tiny_gguf: Path) -> None:
    hub.put(REPO, "tiny-Q8_0.gguf", tiny_gguf.read_bytes() + bytes(50_000_000))
    hub.faults["tiny-Q8_0.gguf"].append(Fault(no_ranges=True, drip=65_536, pause=0.001))
    assert fits(REPO, MACHINE, network=network).fits[0].verdict == "fits"
    assert hub.sent("tiny-Q8_0.gguf") < 40_000_000


def test_a_model_in_parts_is_planned_from_the_first(hub: FakeHub, network: Network, tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny-Q8_0.gguf", split_max_tensors=8)
    for part in tmp_path.glob("*.gguf"):
        hub.put(REPO, part.name, part.read_bytes() + (bytes(1_000_000) if "00002" in part.name else b""))
    (answer,) = fits(REPO, MACHINE, network=network).fits
    assert answer.verdict == "fits"
    found, _ = subjects(open_repository(REPO, network=network), network)
    assert found["Q8_0"].weights.total > 1_000_000


def config(**more: object) -> bytes:
    known = {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return json.dumps(known | more).encode()


@pytest.mark.parametrize(
    ("more", "scheme", "gigabytes"),
    [
        ({}, "bf16", 15.2),
        (
            {"quantization_config": {"quant_method": "aqlm", "num_codebooks": 2, "nbits_per_codebook": 8}},
            "aqlm-2x8",
            4.2,
        ),
        ({"quantization_config": {"quant_method": "spqr", "bits": 3}}, "spqr-3", 5.5),
    ],
)
def test_safetensors_are_planned_from_their_config(
    hub: FakeHub, network: Network, more: dict[str, object], scheme: str, gigabytes: float
) -> None:
    hub.put("someone/dense", "config.json", config(**more), small=True)
    hub.put("someone/dense", "model.safetensors", b"x" * 1000)
    found, notice = subjects(open_repository("someone/dense", network=network), network)
    assert notice == ""
    assert (found["safetensors"].scheme, found["safetensors"].context) == (scheme, 32768)
    assert found["safetensors"].weights.total / 1e9 == pytest.approx(gigabytes, rel=0.1)
    (answer,) = fits("someone/dense", MACHINE, network=network).fits
    assert answer.verdict == plan(found["safetensors"], MACHINE).verdict
    assert hub.sent("model.safetensors") == 0


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"\xff", config(model_type="strange"), config(hidden_size="many"), config(num_hidden_layers=None),
     config(quantization_config={"quant_method": "gptq"}), config(quantization_config=3),
     b'{"model_type": "qwen2", "text_config": {}}'],
)  # fmt: skip
def test_settings_that_make_no_sense_are_one_sentence(hub: FakeHub, network: Network, content: bytes) -> None:
    hub.put("someone/odd", "config.json", content, small=True)
    hub.put("someone/odd", "model.safetensors", b"x" * 1000)
    answer = fits("someone/odd", MACHINE, network=network)
    assert answer.fits == []
    assert answer.notice.endswith(".")


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60), b"PK\x03\x04" * 99])
def test_a_damaged_header_is_one_sentence(hub: FakeHub, network: Network, content: bytes) -> None:
    hub.put(REPO, "a-Q8_0.gguf", content)
    answer = fits(REPO, MACHINE, network=network)
    assert answer.fits == []
    assert answer.notice


def test_what_the_hub_refuses_is_a_sentence(hub: FakeHub, network: Network, tiny_gguf: Path) -> None:
    with pytest.raises(NotFoundError):
        fits("someone/nothing", MACHINE, network=network)
    hub.put(REPO, "a-Q8_0.gguf", tiny_gguf.read_bytes())
    hub.faults["a-Q8_0.gguf"].append(Fault(status=503))
    with pytest.raises(NetworkError, match="503"):
        fits(REPO, MACHINE, network=network)
    hub.gated.add(REPO)
    with pytest.raises(AccessError):
        fits(REPO, MACHINE, network=network)
    asked = len(hub.asked)
    network.offline = True
    with pytest.raises(OfflineError):
        fits(REPO, MACHINE, network=network)
    assert len(hub.asked) == asked


def test_a_search_says_how_large_models_are(hub: FakeHub, network: Network) -> None:
    for name, facts in {
        "a/one-GGUF": {"gguf": {"total": 7_600_000_000, "architecture": "qwen2"}},
        "a/two": {"safetensors": {"parameters": {"BF16": 70_000_000_000}, "total": 70_000_000_000}},
        "a/three": {},
        "a/four": {"gguf": {"total": "many"}},
    }.items():
        hub.put(name, "a.gguf", b"x")
        hub.facts[name] = facts
    found = {one.name: one.parameters for one in search("a/", network=network)}
    assert found == {"a/one-GGUF": 7_600_000_000, "a/two": 70_000_000_000, "a/three": 0, "a/four": 0}
    assert usual_bytes(7_600_000_000) == pytest.approx(4.68e9, rel=0.03)  # Qwen2.5 7B as Q4_K_M


@pytest.mark.parametrize(("parameters", "verdict"), [(7e9, "fits"), (17e9, "fits if"), (70e9, "does not fit")])
def test_a_first_guess(parameters: float, verdict: str) -> None:
    assert likely(int(parameters), MACHINE) == verdict
