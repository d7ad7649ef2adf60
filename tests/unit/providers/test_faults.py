"""What providers are known to say when something is wrong, and the error it becomes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import (
    ContextTooLong,
    ModelNotFound,
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.providers.faults import classify, read_complaint


def _openai(message: str, code: object = None, kind: str = "error") -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


KNOWN = [
    # LM Studio
    (404, _openai("No models loaded. Please load a model in the developer page or use the `lms load` command"),
     ModelUnavailable),
    (404, _openai('Model "x" not found. Your models: y', "model_not_found", "invalid_request_error"), ModelNotFound),
    (404, _openai("No models loaded. Please load a model in the developer page", "model_not_found"), ModelUnavailable),
    (400, {"error": "Model unloaded."}, ModelUnavailable),
    (200, {"error": "Model unloaded."}, ModelUnavailable),
    (500, {"error": "Failed to load model: insufficient system resources for a context length of 131072"},
     ModelUnavailable),
    (400, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded "
                    "with context length of only 4096 tokens"}, ContextTooLong),
    (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length "
                    "(n_keep: 9000>= n_ctx: 4096)"}, ContextTooLong),
    (200, {"error": {"message": "Context size has been exceeded."}}, ContextTooLong),
    (200, {"error": "Reached context length of 4096 tokens, but this model does not support mid-generation context "
                    "overflow"}, ContextTooLong),
    (200, {"error": "The model has crashed without additional information. (Exit code: null)"}, StreamCut),
    (400, {"error": "Error rendering prompt with jinja template: roles must alternate"}, ProviderRequestInvalid),
    (200, {"error": "Unexpected endpoint or method. (POST /v1/chat/completions)"}, ProviderConnectFailed),
    # Anthropic
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-9"}}, ModelNotFound),
    (400, {"type": "error", "error": {"type": "invalid_request_error",
                                      "message": "input length and `max_tokens` exceed context limit: 9 + 8 > 10"}},
     ContextTooLong),
    (413, {"type": "error", "error": {"type": "request_too_large", "message": "Too large"}}, ContextTooLong),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "x",
                                      "details": {"error_code": "contract_spend_limit_reached"}}},
     ProviderQuotaExhausted),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "x",
                                      "details": {"error_code": "ramp_limit_exceeded"}}}, ProviderRateLimited),
    (200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ProviderOverloaded),
    (200, {"type": "error", "error": {"type": "timeout_error", "message": "x"}}, ProviderTimeout),
    (400, {"type": "error", "error": {"type": "invalid_request_error",
                                      "message": "Your credit balance is too low to access the Anthropic API."}},
     ProviderQuotaExhausted),
    (404, {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}}, ProviderConnectFailed),
    # OpenAI
    (429, _openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
     ProviderQuotaExhausted),
    (404, _openai("The model `gpt-9` does not exist", "model_not_found", "invalid_request_error"), ModelNotFound),
    (404, _openai("Invalid URL (POST /v1/response)", None, "invalid_request_error"), ProviderConnectFailed),
    (404, _openai("The API deployment for this resource is gone", "DeploymentNotFound"), ModelNotFound),
    (200, _openai("x", "server_error", "error"), ProviderFailed),
    (200, _openai("x", "invalid_prompt", "error"), ProviderRequestInvalid),
    # llama.cpp
    (400, _openai("request (45023 tokens) exceeds the available context size (4096 tokens)", 400,
                  "exceed_context_size_error"), ContextTooLong),
    (401, _openai("Invalid API Key", 401, "authentication_error"), ProviderAuthFailed),
    (503, _openai("Loading model", 503, "unavailable_error"), ModelUnavailable),
    (404, _openai("File Not Found", 404, "not_found_error"), ProviderConnectFailed),
    # OpenAI, and what imitates it
    (400, _openai("This model's maximum context length is 8192 tokens", "context_length_exceeded"), ContextTooLong),
    (429, _openai("Rate limit reached for tokens per minute", "rate_limit_exceeded"), ProviderRateLimited),
    (429, _openai("You ramp up too fast", "slow_down"), ProviderRateLimited),
    (429, _openai("You exceeded your current quota", "insufficient_quota"), ProviderQuotaExhausted),
    (402, _openai("Payment required"), ProviderQuotaExhausted),
    (403, _openai("Not in your country"), ProviderAuthFailed),
    (400, _openai("Unsupported parameter", "unsupported_parameter", "invalid_request_error"), ProviderRequestInvalid),
    (503, _openai("Slow", "server_is_overloaded"), ProviderOverloaded),
    (529, _openai("Overloaded", None, "overloaded_error"), ProviderOverloaded),
    (200, _openai("Overloaded", None, "overloaded_error"), ProviderOverloaded),
    (200, _openai("Bad", 400, "invalid_request_error"), ProviderRequestInvalid),
    (200, _openai("upstream", "502"), ProviderFailed),
    (200, _openai("something broke"), StreamCut),
    (429, _openai("Insufficient balance, please recharge", "1113"), ProviderQuotaExhausted),
    (500, _openai("insufficient funds of a library are no error of ours"), ProviderFailed),
    (404, {"error": {"message": "No endpoints found for vendor/nonsense.", "code": 404}}, ModelNotFound),
    (404, {"error": "No endpoints found for vendor/nonsense."}, ProviderConnectFailed),
    (404, {"detail": "Not Found"}, ProviderConnectFailed),
    (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, ProviderRequestInvalid),
    # proxies on the way
    (502, b"<html><h1>502 Bad Gateway</h1></html>", ProviderOverloaded),
    (502, _openai("Upstream request failed", "502", "server_error"), ProviderOverloaded),
    (520, b"", ProviderOverloaded),
    (521, b"error code: 521", ProviderOverloaded),
    (522, b"", ProviderOverloaded),
    (523, b"", ProviderOverloaded),
    (500, _openai("The model shard of worker 3 was not found"), ProviderFailed),
    (503, _openai("Backend for model x does not exist yet"), ProviderOverloaded),
    (504, b"", ProviderTimeout),
    (413, b"Request Entity Too Large", ContextTooLong),
    (301, b"", ProviderConnectFailed),
    (500, b"Internal Server Error", ProviderFailed),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), KNOWN, ids=lambda value: str(value)[:60])
def test_error_has_its_class_when_a_provider_complains(status: int, body: object, kind: type[ProviderError]) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    error = classify("somebody", status, read_complaint(raw), retry_after_seconds=3.0)
    assert type(error) is kind
    assert error.provider == "somebody"
    assert error.retry_after_seconds == 3.0


def test_nothing_of_the_key_is_told_when_credentials_are_refused() -> None:
    complaint = read_complaint(orjson.dumps(_openai("Incorrect API key provided: sk-secret", "invalid_api_key")))
    assert "sk-secret" not in classify("somebody", 401, complaint).detail


def test_quotation_is_short_and_on_one_line_when_the_body_is_long() -> None:
    detail = classify("somebody", 500, read_complaint(b"line\n" * 100_000)).detail
    assert len(detail) < 400
    assert "\n" not in detail


@given(st.integers(200, 599), st.binary(max_size=200))
def test_any_answer_becomes_an_error_of_the_tree_when_it_is_nonsense(status: int, body: bytes) -> None:
    assert isinstance(classify("somebody", status, read_complaint(body)), ProviderError)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail", "status"]), inner, max_size=4)
    ),
)


@given(st.integers(200, 599), _JSON)
def test_any_json_becomes_an_error_of_the_tree_when_its_shape_is_unknown(status: int, body: object) -> None:
    assert isinstance(classify("somebody", status, read_complaint(orjson.dumps(body))), ProviderError)
