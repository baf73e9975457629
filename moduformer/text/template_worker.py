"""The child process that renders chat templates; run as a script, it imports only Jinja2 and the standard library.

Requests and replies are frames on the standard streams: four bytes of length (big endian), then ASCII JSON. The parent
kills this process when a template takes too long; limits of the operating system stop the rest.
"""

import contextlib
import json
import struct
import sys
from datetime import datetime

#: Address space beyond what is used after start-up, and processor seconds a request may take at most.
MEMORY_BYTES = 384 * 2**20
CPU_SECONDS = 2
CACHED_TEMPLATES = 32


def limit_process():
    """Take away what a template never needs, should one ever leave its sandbox."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the parent's time limit and the sandbox remain.
        return None
    try:
        with open("/proc/self/statm") as stream:
            used = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    except (OSError, ValueError):
        pass
    for name, most in (("RLIMIT_FSIZE", 0), ("RLIMIT_NOFILE", 3), ("RLIMIT_NPROC", 0), ("RLIMIT_CORE", 0)):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (most, most))
    return resource


def limit_request(resource):
    """Let this request use only so much processor time, even if the parent is gone and cannot kill."""
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + CPU_SECONDS + 1
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def make_environment():
    """An immutable sandbox with what chat templates of the Hub use, and nothing more."""
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks the model's own words for training; rendering only keeps its body."""

        tags = {"generation"}  # noqa: RUF012 - the base class declares a plain set

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            values = dict(*args, **kwargs)
            for name in values:
                refuse_private(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name, value):
            refuse_private(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

    def refuse_private(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the attribute {name!r} of a namespace is private")

    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["*", "**"])

        def is_safe_attribute(self, obj, attr, value):
            # Data is plain JSON, so everything that begins with an underscore is machinery; `format` and `format_map`
            # reach attributes from inside a string.
            if attr.startswith("_") or attr in ("format", "format_map", "mro", "gi_frame", "cr_frame"):
                return False
            return super().is_safe_attribute(obj, attr, value)

        def getattr(self, obj, attribute):
            return self._checked(attribute, super().getattr(obj, attribute))

        def getitem(self, obj, argument):
            return self._checked(argument, super().getitem(obj, argument))

        def _checked(self, attribute, found):
            # Jinja lets an unsafe attribute print as nothing; a template that asks for one is refused as a whole.
            unsafe = isinstance(found, jinja2.Undefined) and (
                found._undefined_exception is jinja2.exceptions.SecurityError
            )
            if unsafe or (isinstance(attribute, str) and attribute.startswith("__")):
                raise jinja2.exceptions.SecurityError(f"access to {attribute!r} is not allowed")
            return found

        def call_binop(self, context, operator, left, right):
            if operator == "**" and (abs(left) > 10**6 or abs(right) > 64):
                raise jinja2.exceptions.SecurityError("this power is too large")
            if operator == "*":
                for sequence, times in ((left, right), (right, left)):
                    if isinstance(sequence, (str, list, tuple)) and len(sequence) * times > 2**24:
                        raise jinja2.exceptions.SecurityError("this repetition is too long")
            return super().call_binop(context, operator, left, right)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(str(message))

    def strftime_now(pattern):
        return datetime.now().strftime(pattern)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols], cache_size=0
    )
    for name in ("lipsum", "cycler", "joiner"):
        environment.globals.pop(name, None)
    for name in ("attr", "pprint", "xmlattr", "urlize"):
        environment.filters.pop(name, None)
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    environment.globals["namespace"] = Namespace
    return environment


def warm_up(environment):
    """Load now whatever Python loads late, because no file can be opened once the limits stand."""

    datetime.now().astimezone()
    environment.globals["strftime_now"]("%d %b %Y")
    environment.from_string("{% for a in b %}{{ a|trim|tojson }}{{ '%s'|format(a) }}{% endfor %}").render(b=["warm"])
    for broken in ("{{ raise_exception('warm') }}", "{{ 1/0 }}", "{{ a.b.c }}", "{{ ''.__class__ }}", "{% if %}"):
        try:
            environment.from_string(broken).render()
        except Exception:
            continue


class TooLong(Exception):
    """The output limit was reached."""


def render(environment, compiled, request):
    """Render one request; returns the text."""
    source = request["template"]
    template = compiled.get(source)
    if template is None:
        if len(compiled) >= CACHED_TEMPLATES:
            compiled.clear()
        template = compiled[source] = environment.from_string(source)
    parts, size = [], 0
    for part in template.generate(**request["values"]):
        size += len(part) if part.isascii() else len(part.encode("utf-8", "surrogatepass"))
        if size > request["limit"]:
            raise TooLong
        parts.append(part)
    return "".join(parts)


def answer(environment, compiled, request):
    """The reply to one request: `{"text": ...}` or `{"error": kind, "message": ...}`."""
    import jinja2

    try:
        return {"text": render(environment, compiled, request)}
    except TooLong:
        return {"error": "output", "message": ""}
    except MemoryError:
        compiled.clear()
        return {"error": "memory", "message": ""}
    except RecursionError:
        return {"error": "recursion", "message": ""}
    except jinja2.exceptions.SecurityError as error:
        return {"error": "security", "message": str(error)[:300]}
    except jinja2.exceptions.TemplateSyntaxError as error:
        return {"error": "syntax", "message": f"line {error.lineno}: {error.message}"[:300]}
    except jinja2.exceptions.TemplateError as error:
        return {"error": "template", "message": str(error)[:300]}
    except Exception as error:
        return {"error": "template", "message": f"{type(error).__name__}: {error}"[:300]}


def main():
    """Answer requests until the input ends."""
    sys.path[:0] = json.loads(sys.argv[1])
    environment = make_environment()
    warm_up(environment)
    compiled: dict = {}
    resource = limit_process()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(struct.pack(">I", 2) + b"{}")
    sink.flush()
    while True:
        head = source.read(4)
        if len(head) < 4:
            return
        body = source.read(struct.unpack(">I", head)[0])
        limit_request(resource)
        reply = json.dumps(answer(environment, compiled, json.loads(body))).encode("ascii")
        sink.write(struct.pack(">I", len(reply)) + reply)
        sink.flush()


if __name__ == "__main__":
    main()
