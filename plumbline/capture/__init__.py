"""Data capture for hosts that have none: SageMaker capture files from any Python service.

`CaptureWriter` takes answered requests and writes files that Model Monitor and Plumbline read; `AsgiCapture` and
`WsgiCapture` give it the requests of a web application. This package needs the standard library alone (and boto3 where
the destination is S3). How to use it: docs/capture.md.
"""

from plumbline.capture.asgi import AsgiCapture
from plumbline.capture.redaction import blank
from plumbline.capture.writer import CaptureWriter, Counts
from plumbline.capture.wsgi import WsgiCapture

__all__ = ["AsgiCapture", "CaptureWriter", "Counts", "WsgiCapture", "blank"]
