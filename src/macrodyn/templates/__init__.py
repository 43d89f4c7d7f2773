"""What ``macrodyn init`` writes: a study of each built-in system, and a system of one's own.

Each file works as it stands. A user's names are put in place of ``my-study``, ``my-system``,
``my_system`` and ``MySystem``.
"""
