# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

# Configuration of Sphinx; the documentation is built with
#
#     sphinx-build -W --keep-going -b html doc doc/_build/html

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from lsst.meas.trails import __version__

project = "meas_trails"
author = "The meas_trails developers"
project_copyright = "the meas_trails developers; see the COPYRIGHT file"
release = version = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "trails_angles",
    "trails_links",
    "trails_reference",
    "trails_rooms",
    "trails_tasks",
]
exclude_patterns = ["_build", "changes/*", "html", "xml"]
root_doc = "index"
source_suffix = {".md": "markdown"}
language = "en"
# Backticks link to Python objects of that name.
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_generate = False
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
# Names without the module: most are unique in the package.
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = "meas_trails"
html_static_path = ["_static"]
html_css_files = ["trails.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "footer_end": [],
    "footer_start": ["copyright", "sphinx-version"],
    "navbar_end": ["theme-switcher"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "use_edit_page_button": False,
}
html_sidebars = {"concepts": [], "index": []}
