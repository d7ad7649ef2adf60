"""What the three generations of LM Studio's model list say."""

import pytest

from message_service.providers.lm_studio_models import ModelList, ReadyModel, read_openai, read_v0, read_v1

V1 = {
    "models": [
        {
            "type": "embedding",
            "key": "nomic",
            "loaded_instances": [{"id": "nomic", "config": {"context_length": 2048}}],
        },
        {"type": "llm", "key": "gemma", "loaded_instances": [], "max_context_length": 131072},
        {
            "type": "llm",
            "key": "qwen",
            "loaded_instances": [
                {"id": "qwen", "config": {"context_length": 8192, "parallel": 4}},
                {"id": "qwen:2", "config": {"context_length": 4096}},
            ],
        },
    ]
}
V0 = {
    "object": "list",
    "data": [
        {"id": "nomic", "type": "embeddings", "state": "loaded", "max_context_length": 2048},
        {"id": "gemma", "type": "vlm", "state": "not-loaded", "max_context_length": 131072},
        {"id": "qwen", "type": "llm", "state": "loaded", "max_context_length": 32768, "loaded_context_length": 8192},
    ],
}
OPENAI = {"object": "list", "data": [{"id": "text-embedding-nomic"}, {"id": "qwen", "meta": {"n_ctx": 8192}}]}


def test_loaded_instances_are_ready_when_the_list_is_of_the_first_generation() -> None:
    assert read_v1(V1) == ModelList(
        (ReadyModel("qwen", 8192, 4), ReadyModel("qwen:2", 4096)),
        ("gemma",),
        frozenset({"qwen", "qwen:2", "gemma", "nomic"}),
    )


def test_loaded_models_are_ready_when_the_list_has_states() -> None:
    assert read_v0(V0) == ModelList((ReadyModel("qwen", 8192),), ("gemma",), frozenset({"qwen", "gemma", "nomic"}))


def test_every_model_is_ready_when_the_list_does_not_tell() -> None:
    assert read_openai(OPENAI) == ModelList((ReadyModel("qwen", 8192),))


def test_list_is_not_misread_when_it_is_of_another_generation() -> None:
    assert read_v1(V0) is None
    assert read_v1(OPENAI) is None
    assert read_v0(V1) is None
    assert read_v0(OPENAI) is None
    assert read_openai(V1) is None


@pytest.mark.parametrize("listing", [None, [], "x", {"error": "Unexpected endpoint"}, {"data": "x"}, {"models": [1]}])
def test_nothing_is_read_when_the_answer_is_no_list(listing: object) -> None:
    assert [read(listing) for read in (read_v1, read_v0, read_openai)] == [None, None, None]
