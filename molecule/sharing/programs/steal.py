"""Takes the lease from whoever has it, as a host would that saw it unrenewed for long: run on an archive host."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path("/opt/speedtest-archive/current")))

from speedtest_logger.archive.cli.rights import take_store
from speedtest_logger.archive.shared import lease
from speedtest_logger.sinks.objects import Objects
from speedtest_logger.sinks.place import Place

take_store()
objects = Objects(Place.of("s3://measurements/records"))
found = lease.read(objects)
assert found
lease.release(objects, found[0])
print(found[0].holder)
