"""An editor's work in WordPress over HTTP: a picture, a plugin and its next version, a forgotten password, visitors."""

import html
import io
import re
import struct
import sys
import uuid
import zipfile
import zlib
from http.cookiejar import CookieJar
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, Request, build_opener

SITE = "http://blog.example/"
PLUGIN = """<?php
/*
Plugin Name: Better Thumbnails
Version: %s
*/
add_filter('wp_generate_attachment_metadata', function ($metadata, $attachment) {
    $picture = get_attached_file($attachment);
    exec('convert ' . escapeshellarg($picture) . ' -resize 32x32 ' . escapeshellarg("$picture.small.png"), $lines, $status);
    update_option('better_thumbnails_status', $status);
    return $metadata;
}, 10, 2);
"""

opener = build_opener(HTTPCookieProcessor(CookieJar()))


def ask(path, fields=None, files=None):
    """The page at that path; a form is posted if there are fields or files."""
    body, headers = None, {}
    if files:
        boundary = uuid.uuid4().hex
        headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        parts = [(f'name="{name}"', value.encode()) for name, value in (fields or {}).items()]
        parts += [(f'name="{name}"; filename="{file}"', content) for name, (file, content) in files.items()]
        line = f"--{boundary}\r\nContent-Disposition: form-data; "
        body = b"".join(f"{line}{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
        body += f"--{boundary}--\r\n".encode()
    elif fields:
        body = urlencode(fields).encode()
    with opener.open(Request(urljoin(SITE, path), body, headers), timeout=60) as answer:
        return answer.read().decode(errors="replace")


def found(pattern, page):
    """What the page holds in the pattern's parentheses."""
    match = re.search(pattern, page)
    if not match:
        sys.exit(f"no {pattern} in {page[:500]}")
    return html.unescape(match[1])


def picture(width):
    """A grey PNG of that width."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * width)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def plugin(version):
    """A plugin's archive, as authors hand it out."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("better-thumbnails/better-thumbnails.php", PLUGIN % version)
    return archive.getvalue()


def install_plugin(version):
    """Installs the plugin, or puts this version in the place of another."""
    form = ask("wp-admin/plugin-install.php?tab=upload")
    nonce = found(r'name="_wpnonce" value="(\w+)"', form)
    fields = {"_wpnonce": nonce, "install-plugin-submit": "Install Now"}
    archive = {"pluginzip": ("better-thumbnails.zip", plugin(version))}
    page = ask("wp-admin/update.php?action=upload-plugin", fields, archive)
    if "overwrite=update-plugin" in page:
        page = ask("wp-admin/" + found(r'href="([^"]*overwrite=update-plugin[^"]*)"', page))
    if "action=activate" in page:
        ask("wp-admin/" + found(r'href="([^"]*plugins\.php\?action=activate[^"]*)"', page))


def upload_picture():
    """Uploads a picture, which WordPress scales by itself and the plugin by ImageMagick."""
    nonce = found(r'name="_wpnonce" value="(\w+)"', ask("wp-admin/media-new.php"))
    fields = {"_wpnonce": nonce, "html-upload": "Upload"}
    ask("wp-admin/media-new.php", fields, {"async-upload": ("holiday.png", picture(400))})
    found(r"(holiday[^\"]*\.png)", ask("index.php?rest_route=/wp/v2/media"))


def write_post():
    """Publishes a post through the REST API, as the block editor does."""
    nonce = found(r"createNonceMiddleware\( \"(\w+)\"", ask("wp-admin/post-new.php"))
    request = Request(
        urljoin(SITE, "index.php?rest_route=/wp/v2/posts"),
        urlencode({"title": "News", "content": "Much has happened.", "status": "publish"}).encode(),
        {"X-WP-Nonce": nonce},
    )
    with opener.open(request, timeout=60) as answer:
        return answer.read()


version = sys.argv[1]
ask("wp-login.php")
ask("wp-login.php", {"log": "admin", "pwd": "correct-horse", "wp-submit": "Log In", "testcookie": "1"})
install_plugin(version)
upload_picture()
write_post()
for path in ["", "?s=news", "?feed=rss2", "index.php?rest_route=/wp/v2/posts", "wp-admin/site-health.php", "wp-admin/plugins.php"]:
    ask(path)
ask("wp-login.php?action=lostpassword", {"user_login": "admin", "wp-submit": "Get New Password"})
ask("wp-cron.php?doing_wp_cron")
print("done")
