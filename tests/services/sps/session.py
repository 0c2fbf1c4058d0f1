"""session.py DIR CONFIGURATION SCENARIO USER: a session of USER by the plugin in DIR, as the SDK's tester plays it."""
import os
import sys

from safeguard.sessions.plugin import __version__ as sdk_version
from safeguard.sessions.plugin.data.aa_sample import scenarios
from safeguard.sessions.plugin_impl.tasks.aa_plugin_tester import AAPluginTester
from safeguard.sessions.plugin_impl.tasks.manifest import Manifest
from safeguard.sessions.plugin_impl.tasks.tasks import load_source

directory, configuration, scenario, user = sys.argv[1:]
manifest = Manifest.from_file(os.path.join(directory, "MANIFEST"))
manifest.check_api_version(sdk_version)
assert manifest.type == "aa"
plugin = load_source("plugintotest", os.path.join(directory, manifest.entry_point)).Plugin
AAPluginTester.run_scenario(plugin, configuration, scenarios[scenario], user, user)
