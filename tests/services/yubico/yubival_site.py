"""The settings of a Django site that is yubival and nothing else, on the database that YUBIVAL_DATABASE names."""
import os

SECRET_KEY = "test"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "yubival_urls"
INSTALLED_APPS = ["yubival"]
MIDDLEWARE = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["YUBIVAL_DATABASE"],
                         "OPTIONS": {"timeout": 20}}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
