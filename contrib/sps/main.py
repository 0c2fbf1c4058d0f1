#!/usr/bin/env pluginwrapper3
"""Passes each hook on to countersign, and hands its verdict back."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


class Plugin:
    def __init__(self, configuration):
        self.configuration = configuration

    def authenticate(self, **arguments):
        return self._pass_on("authenticate", arguments)

    def authorize(self, **arguments):
        return self._pass_on("authorize", arguments)

    def session_ended(self, **arguments):
        self._pass_on("session_ended", arguments)

    def _pass_on(self, hook, arguments):
        try:
            line = json.dumps({"hook": hook, "arguments": arguments}) + "\n"
            command = [program(), "gateway", "sps", "--config", self._configure()]
            # What it writes to stderr is its log, and goes where that of the plugin goes.
            ran = subprocess.run(command, input=line.encode(), stdout=subprocess.PIPE)
            verdict = json.loads(ran.stdout.decode()) if ran.stdout.strip() else {}
            if hook == "session_ended" and verdict is None:
                return None
            if isinstance(verdict, dict) and verdict.get("verdict") in ("ACCEPT", "DENY", "NEEDINFO"):
                return verdict
            why = "exit status {}".format(ran.returncode)
        except Exception as error:  # Whatever it is, nobody is let in by it.
            why = "{}: {}".format(type(error).__name__, error)
        reason = "countersign gave no verdict, the log may say why ({})".format(why)
        try:
            sys.stderr.write(reason + "\n")
        except Exception:
            pass  # Who cannot be told still gets a verdict.
        return {
            "verdict": "DENY",
            "additional_metadata": json.dumps({"reason": reason}),
            "reason": "Internal error",
            "cookie": arguments.get("cookie") or {},
            "session_cookie": arguments.get("session_cookie") or {},
        }

    def _configure(self):
        """The path of the configuration, in a directory with key and store, which are made where there are none."""
        home = os.path.join(os.environ["SCB_PLUGIN_STATE_DIRECTORY"], "countersign")
        if not os.path.exists(os.path.join(home, "plugin.ini")):
            os.makedirs(home, 0o700, exist_ok=True)
            subprocess.run([program(), "init", home], stdout=subprocess.DEVNULL)
        # One file a text: two configurations of the plugin are never taken for one another.
        text = self.configuration.encode()
        name = "configuration-{}.ini".format(hashlib.sha256(text).hexdigest()[:32])
        path = os.path.join(home, name)
        try:
            os.utime(path)
        except FileNotFoundError:
            handle, new = tempfile.mkstemp(prefix="configuration-", dir=home)
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            os.replace(new, path)
            forget(home)
        return path


def forget(home):
    """Removes the configurations that nobody used for a day."""
    for entry in list(os.scandir(home)):
        try:
            if entry.name.startswith("configuration-") and entry.stat().st_mtime < time.time() - 86400:
                os.unlink(entry.path)
        except FileNotFoundError:
            pass  # Another call gave it its name, or removed it, meanwhile.


def program():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "countersign")
    if not os.path.exists(beside):
        return shutil.which("countersign") or "countersign"
    if not os.access(beside, os.X_OK):
        os.chmod(beside, 0o755)  # Not everything that unpacks a ZIP keeps modes.
    return beside
