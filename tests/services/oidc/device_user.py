#!/usr/bin/env python3
"""The person at the browser, who walks through the pages of oidc-provider's device flow.

device_user.py ISSUER USER_CODE LOGIN [--deny]
Prints the last page's word. Exit status: 0 if that is what was meant (approved, or denied with --deny), else 1.
"""
import html, http.cookiejar, re, sys, urllib.error, urllib.parse, urllib.request

issuer, code, login = sys.argv[1:4]
deny = "--deny" in sys.argv
# Loopback is reached without a proxy, whatever the environment says.
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                      urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def fetch(url, data=None):
    body = urllib.parse.urlencode(data).encode() if data is not None else None
    try:
        answer = browser.open(urllib.request.Request(url, body), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.geturl(), answer.read().decode()


def fields(form):
    """The inputs of a form that have a name, with their values."""
    inputs = [dict(re.findall(r"(\w+)=\"([^\"]*)\"", tag)) for tag in re.findall(r"<input[^>]*>", form)]
    return {html.unescape(i["name"]): html.unescape(i.get("value", "")) for i in inputs if "name" in i}


url, page = fetch(issuer + "/device")
# The code, the confirmation, the login, the consent, and what each leads to.
for _ in range(8):
    complaint = re.search(r"<p class=\"red\">(.*?)</p>", page, re.S)
    said = complaint or re.search(r"<title>(.*?)</title>", page, re.S)
    said = html.unescape(said[1]).strip() if said else page[:200]
    form = re.search(r"<form[^>]*?action=\"([^\"]+)\"[^>]*>(.*?)</form>", page, re.S)
    if complaint or form is None:
        break
    data = fields(form[2])
    if "confirm" in data:
        data.update({"abort": "yes"} if deny else {})
    elif "user_code" in data:
        data["user_code"] = code
    if "login" in data:
        data.update(login=login, password="x")
    url, page = fetch(urllib.parse.urljoin(url, html.unescape(form[1])), data)
print(said)
sys.exit(0 if ("interrupted" if deny else "Success") in said else 1)
