"""For the reference: docstrings that a class puts together when it is made, and types in words."""

import importlib
import inspect

import griffe


class Docstrings(griffe.Extension):
    def on_class_members(self, *, cls: griffe.Class, **_: object) -> None:
        if "__doc__" in cls.members:
            made = getattr(importlib.import_module(cls.module.path), cls.name)
            cls.docstring = griffe.Docstring(inspect.getdoc(made), parent=cls)
            del cls.members["__doc__"]

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: object) -> None:
        _without_brackets(pkg, loader)


def _without_brackets(obj: griffe.Object, loader: griffe.GriffeLoader) -> None:
    """"None, int or Generator" is read as a tuple, which would be shown in brackets."""
    if obj.docstring is not None:
        obj.docstring.parser = loader.docstring_parser
        obj.docstring.parser_options = loader.docstring_options
        for section in obj.docstring.parsed:
            for item in section.value if isinstance(section.value, list) else ():
                annotation = getattr(item, "annotation", None)
                if isinstance(annotation, griffe.ExprTuple):
                    annotation.implicit = True
    for member in obj.members.values():
        if not member.is_alias:
            _without_brackets(member, loader)
