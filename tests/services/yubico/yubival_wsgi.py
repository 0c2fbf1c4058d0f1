"""What gunicorn runs; start-yubival.sh sets the environment."""
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
