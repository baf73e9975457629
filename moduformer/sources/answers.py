"""What an HTTP answer or a failed connection means, in words for the person who waits for the file."""

import re


def looks_like_page(start: bytes) -> bool:
    """Whether the first bytes of a file are a web page's: the sign of a proxy or login page in its place."""
    return re.match(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype html|<html[\s>])", start[:512], re.IGNORECASE) is not None


def failure(error: Exception) -> str:
    """The kind of the failure without the library's nested representation, which can carry addresses and logins."""
    kind = type(error).__name__
    return {
        "ProxyError": "the proxy did not let the request through (check the proxy that pip or the environment names)",
        "SSLError": "the certificate was not accepted (set pip's `cert` option to your company's CA bundle)",
        "ConnectTimeout": "the server did not answer in time",
        "ReadTimeout": "the server stopped sending",
        "ConnectionError": "no connection could be made, or it was cut",
        "ProtocolError": "the connection was cut",
        "IncompleteRead": "the connection was cut",
        "ReadTimeoutError": "the server stopped sending",
    }.get(kind, f"the connection failed ({kind})")


def refusal(status: int, reason: str | None) -> str:
    """What an HTTP status means and what to do about it."""
    advice = {
        401: "it needs a login: put user and password into pip's index-url or ~/.netrc",
        403: "access was refused: check the credentials, or whether a firewall blocks this file",
        404: "it does not exist there",
        407: "the proxy needs a login: put user and password into the proxy address",
    }.get(status, "not an answer that a file comes with")
    return f"the server answered {status} {reason or ''}".rstrip() + f"; {advice}"
