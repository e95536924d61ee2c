"""nova-compute with the lab's hypervisor.

Nova imports a compute driver from the package nova.virt only. Its search path is widened here, in this process, so that
the Python environment, which labs share, stays as it is.
"""
import os
import sys

import nova.virt

nova.virt.__path__.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'nova_virt'))

from nova.cmd.compute import main

sys.argv[0] = 'nova-compute'
sys.exit(main())
