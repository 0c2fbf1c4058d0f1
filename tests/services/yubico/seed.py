#!/usr/bin/env python3
"""Makes the database that yubival starts from, with one client and the known YubiKeys.  seed.py DIR"""
import os, sys

os.environ.update(YUBIVAL_DATABASE=os.path.join(sys.argv[1], "yubival.sqlite"), DJANGO_SETTINGS_MODULE="yubival_site")
import django

django.setup()
from django.core.management import call_command
from yubikey_otp import API_KEY, CLIENT_ID, KEYS
from yubival.models import APIKey, Device

call_command("migrate", verbosity=0)
APIKey.objects.create(id=CLIENT_ID, label="gateway", key=API_KEY)
for name, (public, private, aes) in KEYS.items():
    if name != "unknown":
        Device.objects.create(label=name, public_id=public, private_id=private, key=aes)
