"""serve_wsgi.py MODULE ADDRESS PORT [ARGUMENT...]: serves MODULE.application with cheroot.

Keystone, Nova, Placement and Neutron ship no API server of their own any more. The arguments that remain are the
module's (cinder.wsgi.api reads --config-file from them).
"""
import importlib
import os
import signal
import sys

module, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.argv = [module] + sys.argv[4:]
application = importlib.import_module(module).application

import sqlalchemy.orm

# Neutron 29 reads attributes of its models that SQLAlchemy 2.1 adds only when it configures the mappers.
sqlalchemy.orm.configure_mappers()

from cheroot import wsgi  # after the module: some of them patch the standard library when they're imported

server = wsgi.Server((address, port), application, numthreads=8, request_queue_size=128)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server.start()
