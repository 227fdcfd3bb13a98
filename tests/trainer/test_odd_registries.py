"""Registries, and what is none, that answer a push otherwise than the specification says: nothing counts as pushed that
is not there, and no password goes where it does not belong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest

from distillery_trainer.registry.challenges import Challenge, challenges_in
from distillery_trainer.registry.credentials import Credentials
from distillery_trainer.registry.image import Document, Image
from distillery_trainer.registry.push import push
from distillery_trainer.registry.registry_client import RegistryClient, Repository
from distillery_trainer.runtime.errors import StageError, TryLater, UserError

ALICE = Credentials("alice", "s3cret")
BASIC = "Basic YWxpY2U6czNjcmV0"
IMAGE = Image((), Document(b"{}"), Document(b'{"manifest": true}'))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REGISTRY = "registry.example"

Answer = Callable[[httpx2.Request], httpx2.Response]


class Web:
    """All servers that there are: each request is answered by `answer`, and remembered."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.answer: Answer = registry

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        return self.answer(request)

    def shown(self) -> dict[str, str | None]:
        """The last Authorization header of each origin."""
        return {
            f"{each.url.scheme}://{each.url.netloc.decode()}": each.headers.get("authorization")
            for each in self.requests
        }


def registry(request: httpx2.Request) -> httpx2.Response:
    """An empty registry that lets anyone push."""
    if request.method == "HEAD":
        return httpx2.Response(404)
    if request.method == "POST":
        return httpx2.Response(202, headers={"location": f"{request.url.path}1"})
    return httpx2.Response(201)


def only_for(header: str, challenge: str, inner: Answer = registry) -> Answer:
    """A registry that wants this header."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.headers.get("authorization") == header:
            return inner(request)
        return httpx2.Response(401, headers={"www-authenticate": challenge})

    return answer


def with_tokens(token: Answer, challenge: str = 'Bearer realm="https://tokens.example/v2/token?tenant=7"') -> Answer:
    """A registry that wants a token of a service."""
    inner = only_for("Bearer t0ken", challenge)
    return lambda request: token(request) if request.url.host == "tokens.example" else inner(request)


@pytest.fixture
def web(monkeypatch) -> Web:
    found = Web()
    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", lambda _, request: found.handle(request))
    return found


def pushed(credentials: Credentials | None = ALICE, host: str = REGISTRY, *, plain_http: bool = False) -> int:
    repository = Repository(host, "team/student", credentials, "push" if credentials else None, plain_http)
    client = RegistryClient(repository, pauses_seconds=(0.0,))
    try:
        return push(client, IMAGE, "lhvywxbo")
    finally:
        client.close()


@contextmanager
def refused(kind: type[StageError], sentence: str) -> Iterator[None]:
    with pytest.raises(kind) as found:
        yield
    assert sentence in found.value.message
    assert "s3cret" not in found.value.message
    assert "YWxpY2U6czNjcmV0" not in found.value.message


def test_a_push(web):
    assert pushed() == 2
    assert [each.method for each in web.requests] == ["HEAD", "POST", "PUT", "PUT"]
    assert web.shown() == {"https://registry.example": None}


@pytest.mark.parametrize(
    "token",
    [
        httpx2.Response(200, text="<html>Sign in</html>"),
        httpx2.Response(200, json={}),
        httpx2.Response(200, json={"token": ""}),
        httpx2.Response(200, json=[]),
        httpx2.Response(302, headers={"location": "https://tokens.example/login"}),
        httpx2.Response(404),
    ],
)
def test_a_service_without_tokens_is_no_image_that_was_pushed(web, token):
    web.answer = with_tokens(lambda _: token)
    with refused(UserError, f"tokens.example gave no token (HTTP {token.status_code})"):
        pushed()


def test_a_token_service_that_is_busy_is_tried_again_and_refuses_nobody(web):
    replies = [httpx2.Response(503), httpx2.Response(200, json={"access_token": "t0ken"})]
    web.answer = with_tokens(lambda _: replies.pop(0))
    assert pushed() == 2
    web.answer = with_tokens(lambda _: httpx2.Response(429))
    with refused(TryLater, "the registry cannot be reached (HTTP 429"):
        pushed()


def test_a_user_whom_the_token_service_does_not_know(web):
    web.answer = with_tokens(lambda _: httpx2.Response(401))
    with refused(UserError, "the registry refuses the credentials of the Secret push"):
        pushed()


def test_the_query_of_the_token_services_address_is_kept(web):
    web.answer = with_tokens(lambda _: httpx2.Response(200, json={"token": "t0ken"}))
    pushed()
    request = next(each for each in web.requests if each.url.host == "tokens.example")
    assert dict(request.url.params) == {"tenant": "7", "scope": "repository:team/student:pull,push"}
    assert request.headers["authorization"] == BASIC


@pytest.mark.parametrize(
    ("challenge", "sentence"),
    [
        (
            'Bearer realm="http://tokens.example/t"',
            "it gives tokens at http://tokens.example, where the password would",
        ),
        ('Bearer realm="/token"', "it does not say where it gives tokens"),
        ('Bearer realm="https://h:port/"', "it does not say where it gives tokens"),
        ("Bearer", "it does not say where it gives tokens"),
        ("Negotiate", "the registry refuses the credentials of the Secret push"),
        ("", "the registry refuses the credentials of the Secret push"),
    ],
)
def test_no_password_goes_anywhere_in_the_clear_or_in_an_unknown_way(web, challenge, sentence):
    web.answer = only_for("nothing", challenge)
    with refused(UserError, sentence):
        pushed()
    assert web.shown() == {"https://registry.example": None}


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer realm="https://tokens.example/t",service="container_registry",scope="*", Basic realm="Gitea"',
        'Negotiate, Bearer realm="https://tokens.example/t",service=container_registry',
    ],
)
def test_a_registry_that_offers_several_ways(web, challenge):
    web.answer = with_tokens(lambda _: httpx2.Response(200, json={"token": "t0ken"}), challenge)
    assert pushed() == 2


def test_challenges_in_one_header():
    header = 'NEGOTIATE dG9rZW4=, Basic realm="a, b=c Bearer", charset=UTF-8'
    assert list(challenges_in(header)) == [
        Challenge("negotiate"),
        Challenge("basic", {"realm": "a, b=c Bearer", "charset": "UTF-8"}),
    ]


@pytest.mark.parametrize("host", ["registry.example:443", "registry.example:5000", "localhost:5000"])
def test_a_port_does_not_keep_the_credentials_from_the_registry(web, host):
    web.answer = only_for(BASIC, "Basic")
    assert pushed(host=host) == 2


def test_uploads_elsewhere_learn_no_credentials(web):
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "storage.example":
            return httpx2.Response(201)
        location = {"location": "https://storage.example/put?sig=1"} if request.method == "POST" else {}
        return httpx2.Response(202, headers=location) if location else inner(request)

    inner = only_for(BASIC, "Basic")
    web.answer = answer
    pushed()
    assert web.shown() == {"https://registry.example": BASIC, "https://storage.example": None}


def test_a_proxy_that_ends_tls_leads_no_upload_into_the_clear(web):
    """The registry behind it believes that it is asked by HTTP."""

    def behind(request: httpx2.Request) -> httpx2.Response:
        location = {"location": f"http://{REGISTRY}{request.url.path}1"} if request.method == "POST" else {}
        return httpx2.Response(202, headers=location) if location else registry(request)

    web.answer = only_for(BASIC, "Basic", behind)
    assert pushed() == 2
    assert web.shown() == {"https://registry.example": BASIC}


def test_no_address_to_upload_to(web):
    web.answer = lambda request: httpx2.Response(404 if request.method == "HEAD" else 202)
    with refused(UserError, "it does not say where to upload to (HTTP 202)"):
        pushed()


@pytest.mark.parametrize(
    ("location", "plain_http", "sentence"),
    [
        ("https://registry.example/v2/", True, "it leads to https://registry.example instead; name that host where it"),
        ("https://registry.example/v2/", True, ", without plainHTTP (HTTP 307"),
        ("https://login.example/?next=s3cret", False, "it leads to https://login.example instead"),
        ("/users/sign_in", False, "it leads to https://registry.example instead"),
    ],
)
def test_what_leads_everything_elsewhere_holds_no_image(web, location, plain_http, sentence):
    web.answer = lambda _: httpx2.Response(307, headers={"location": location})
    with refused(UserError, sentence):
        pushed(plain_http=plain_http)


def test_a_page_for_everything_is_no_image(web):
    web.answer = lambda request: httpx2.Response(405 if request.method == "PUT" else 200, html="<html>Welcome</html>")
    with refused(UserError, "the registry does not accept the image (HTTP 405"):
        pushed()


@pytest.mark.parametrize("header", [{"content-type": MANIFEST}, {"docker-content-digest": IMAGE.digest}])
def test_an_image_that_is_there(web, header):
    web.answer = lambda request: httpx2.Response(200, headers=header if "/manifests/" in request.url.path else {})
    assert pushed() == 0
    assert [each.method for each in web.requests] == ["HEAD", "HEAD"]


def test_another_image_under_the_same_address_is_not_ours(web):
    other = {"content-type": MANIFEST, "docker-content-digest": "sha256:0"}
    web.answer = lambda request: httpx2.Response(200, headers=other) if request.method == "HEAD" else registry(request)
    assert pushed() == 2


def test_a_registry_that_stores_another_image(web):
    def answer(request: httpx2.Request) -> httpx2.Response:
        other = {"docker-content-digest": "sha256:0"} if "/manifests/" in request.url.path else {}
        return httpx2.Response(201, headers=other) if other else registry(request)

    web.answer = answer
    with refused(UserError, f"it stored the image as sha256:0 instead of {IMAGE.digest}"):
        pushed()


def test_a_registry_that_does_not_say_what_it_holds_gets_everything(web):
    web.answer = lambda request: httpx2.Response(405) if request.method == "HEAD" else registry(request)
    assert pushed() == 2


def test_a_response_without_an_end_is_not_read_to_it(web):
    class Endless(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"0" * 65536

    web.answer = lambda _: httpx2.Response(401, headers={"content-encoding": "gzip"}, stream=Endless())
    with refused(TryLater, "the registry cannot be reached (the response is too long)"):
        pushed()


def test_a_registry_that_repeats_a_password_is_not_quoted(web):
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen = request.headers.get("authorization", "")
        if not seen:
            return httpx2.Response(401, headers={"www-authenticate": "Basic"})
        words = {"errors": [{"code": "DENIED", "message": f"no {seen} with s3cret"}]}
        return httpx2.Response(403 if request.method == "POST" else 404, json=words)

    web.answer = answer
    with refused(UserError, "DENIED no Basic *** with ***"):
        pushed()
