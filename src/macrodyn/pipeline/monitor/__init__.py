"""How far a study is: what `macrodyn status` shows."""
