"""The template door: ``{% experience "hero" as hero %}...{% endexperience %}``.

``{{ moe_script() }}`` and ``{{ moe_web_sdk() }}`` load the scripts for browsers.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from ..models.experience import Experience
from .lookups import find, match, meet, script, show, web_sdk
from .personal_templates import personal

DEFAULT_NAME = "experience"

# Compiled templates call these names. They live in bytecode caches, which outlive a
# release: keep what they do, and only add other names.
FIND = "moe_middleware.find"
SHOW = "moe_middleware.show"
MATCH = "moe_middleware.match"
MEET = "moe_middleware.meet"
METHODS = {
    f"moe_middleware.{one.__name__}": one
    for one in (Experience.attrs, Experience.click_url, Experience.get)
}


class _AfterExtends(str):
    """The name of a tag that comes after an ``extends``."""

    __slots__ = ()


class MoEngageExtension(Extension):
    """Adds the tag ``experience`` to a Jinja environment, sync or async.

    It also adds two functions: ``moe_script(nonce)`` is ``Experiences.script``, and
    ``moe_web_sdk(*keys, nonce=..., api=...)`` is ``Experiences.web_sdk``.

    If the visitor has a match, the body is rendered, with the experience under the name
    after ``as``; else the ``else`` branch. A rendered body counts as an impression once
    the response is sent, unless ``impression=false`` follows the key.

    The experiences are the value ``experiences`` of the template's context, if it is an
    ``Experiences``; else those of its ``request``, of any framework; else those of the
    current request.
    """

    tags = {"experience"}  # noqa: RUF012  (jinja declares it mutable)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # Filters are called directly. Methods of an extension go through Context.call,
        # which takes three times as long, and more in a sandbox.
        environment.filters[FIND] = find
        environment.filters[SHOW] = show
        environment.filters[MATCH] = match
        environment.filters[MEET] = meet
        environment.filters.update(METHODS)
        environment.template_class = personal(environment.template_class)
        environment.globals.setdefault("moe_script", script)
        environment.globals.setdefault("moe_web_sdk", web_sdk)

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        extends = begins = False
        for token in stream:
            if begins and token.value == "extends":
                extends = True
            elif begins and extends and token.value in self.tags:
                token = token._replace(value=_AfterExtends(token.value))
            begins = token.type == "block_begin"
            yield token

    def parse(self, parser: Parser) -> nodes.Node:
        lineno, _, tag = next(parser.stream)
        key = parser.parse_expression()
        if isinstance(key, nodes.Sub):
            # The result of a subtraction is no text; unquoted keys with a dash are one.
            parser.fail(
                "the key of the tag 'experience' is a subtraction: put the key in "
                "quotes, as in {% experience 'homepage-banner' %}",
                lineno,
            )
        impression: nodes.Expr = nodes.Const(True)
        name = DEFAULT_NAME
        while parser.stream.current.type != "block_end":
            parser.stream.skip_if("comma")
            if parser.stream.skip_if("name:as"):
                name = parser.parse_assign_target(name_only=True).name
            elif parser.stream.skip_if("name:impression"):
                parser.stream.expect("assign")
                impression = parser.parse_expression()
            else:
                token = parser.stream.current
                parser.fail(
                    "the tag 'experience' takes a key, then 'as NAME' and "
                    f"'impression=false', and not {token.value!r}",
                    token.lineno,
                )
        body = parser.parse_statements(("name:else", "name:endexperience"))
        body = _direct(body, name)
        otherwise: list[nodes.Node] = []
        if next(parser.stream).value == "else":
            otherwise = parser.parse_statements(("name:endexperience",), True)
        # Compiled to Jinja's own assignment and branch, so that autoescaping and nested
        # blocks work.
        target: nodes.Expr = nodes.Name(name, "store")
        matches: nodes.Expr = nodes.Name(name, "load")
        # After an ``extends``, nothing outside of blocks is rendered and nothing may
        # count; only output nodes know this. If Jinja's parser does not say that it is
        # within a block, the faster way is not taken.
        in_block = "block" in getattr(parser, "_tag_stack", ())
        is_rendered = in_block or not isinstance(tag, _AfterExtends)
        if is_rendered and isinstance(impression, nodes.Const) and impression.value:
            named = isinstance(impression.value, str)
            counting = impression if named else nodes.Const(None)
            found = _call(MATCH, key, nodes.Const(lineno), counting)
            matches = parser.free_identifier()
            target = nodes.Tuple([target, matches], "store")
        else:
            # The impression's expression may use the experience, which must exist
            # first.
            all_of_them = parser.free_identifier()
            found = _call(FIND, key, nodes.Const(lineno))
            shown = _call(SHOW, all_of_them, nodes.Name(name, "load"), impression)
            target = nodes.Tuple([target, all_of_them], "store")
            body = [self._statement(shown), *body]
        branch = nodes.If(matches, body, [], otherwise)
        return nodes.Scope([nodes.Assign(target, found), branch]).set_lineno(lineno)

    def _statement(self, call: nodes.Expr) -> nodes.Stmt:
        """Return a node that calls only for the effect.

        The best node is an empty output: Jinja skips it where nothing is rendered, as
        outside of the blocks of a template that extends another. But with a
        ``finalize``, or with native types, an empty output would become a value.
        """
        environment = self.environment
        is_text = environment.concat is Environment.concat
        if is_text and environment.finalize is None:
            return nodes.Output([call])
        return nodes.ExprStmt(call)


def _direct(body: list[nodes.Node], name: str) -> list[nodes.Node]:
    """Return a tag's body that reads its experience in the fastest way.

    If the body gives the name another value, it is returned as it is.
    """
    names = (found for node in body for found in node.find_all(nodes.Name))
    if any(found.name == name and found.ctx != "load" for found in names):
        return body
    direct = _Direct(name)
    return [direct.visit(node) for node in body]


class _Direct(NodeTransformer):
    """Reads payload values as items, and calls methods as filters.

    An attribute that is no field takes several times as long as an item: Python raises
    an exception first.

    Args:
        name: The variable with the experience.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        self.generic_visit(node)
        is_field = node.attr.startswith("_") or hasattr(Experience, node.attr)
        if is_field or not self._is_ours(node.node):
            return node
        item = nodes.Getitem(node.node, nodes.Const(node.attr), node.ctx)
        return item.set_lineno(node.lineno)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        method = node.node
        if isinstance(method, nodes.Getattr) and self._is_ours(method.node):
            name = f"moe_middleware.{method.attr}"
            if name in METHODS:
                given = (node.args, node.kwargs, node.dyn_args, node.dyn_kwargs)
                call = nodes.Filter(method.node, name, *given)
                return call.set_lineno(node.lineno)
        return node

    def _is_ours(self, node: nodes.Node) -> bool:
        return isinstance(node, nodes.Name) and node.name == self._name

    def visit_Block(self, node: nodes.Block) -> nodes.Node:
        # The names in a block are others.
        return node


def _call(name: str, first: nodes.Expr, *others: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(first, name, [*others], [], None, None)
