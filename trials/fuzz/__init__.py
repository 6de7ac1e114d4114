"""Coverage-guided fuzzing of everything that turns foreign or stored bytes into values.

`readers.py` is the table of what is read, `law.py` what every reader owes for any bytes, `mutation.py` how input that
gets past JSON and Base64 is made, `campaign.py` one reader under the fuzzer, `__main__.py` the command. Not deployed;
`tests/fuzz` replays the kept inputs without the fuzzer.
"""
