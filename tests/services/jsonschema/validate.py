"""Holds configurations to a JSON Schema: reads {"schema": ..., "files": [text or object, ...]} and writes a list of the
lists of what is wrong with each. A text is read as plugin.ini is: [section], name = value, comments on lines of their own.
"""

import configparser
import json
import sys

from jsonschema import Draft202012Validator


def parsed(text):
    ini = configparser.ConfigParser(
        delimiters=("=",), comment_prefixes=("#", ";"), inline_comment_prefixes=None, interpolation=None,
        empty_lines_in_values=False, default_section="\0",
    )
    ini.optionxform = str
    ini.read_string(text)
    return {section: dict(ini.items(section)) for section in ini.sections()}


def place(error):
    return " ".join(f"[{part}]" if level == 0 else str(part) for level, part in enumerate(error.absolute_path))


asked = json.load(sys.stdin)
Draft202012Validator.check_schema(asked["schema"])
validator = Draft202012Validator(asked["schema"])
answers = []
for file in asked["files"]:
    instance = parsed(file) if isinstance(file, str) else file
    answers.append([f"{place(error)}: {error.message}" for error in validator.iter_errors(instance)])
json.dump(answers, sys.stdout)
