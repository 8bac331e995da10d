"""Engines fit GoPs: in threads of this process, in processes of this machine, or as tasks of a Ray cluster."""
