"""A Flask shop behind us, for real WSGI servers; ``app`` is what they import."""

from __future__ import annotations

from flask import Flask, render_template_string

from moe_middleware.flask import MoEngage

from ..sites import PAGE

app = Flask(__name__)
app.add_url_rule("/", "home", lambda: render_template_string(PAGE))
MoEngage(app)
