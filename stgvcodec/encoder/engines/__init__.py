"""Engines fit GoPs: in threads of this process, in processes of this machine."""
