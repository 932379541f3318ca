/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include "device.h"
_must_check_ int link_uses(const struct device *dev, struct names *uses, struct error *e);
