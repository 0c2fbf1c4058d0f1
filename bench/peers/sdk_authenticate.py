"""One authenticate of the Python plugin SDK: the call's arguments as a JSON object in, its verdict out.

The plugin is the least that can be written: it accepts every one-time password and remembers nothing.
"""

import json
import sys

from safeguard.sessions.plugin import AAPlugin, AAResponse


class Plugin(AAPlugin):
    def do_authenticate(self):
        return AAResponse.accept()


print(json.dumps(Plugin("[auth]\n").authenticate(**json.load(sys.stdin))))
