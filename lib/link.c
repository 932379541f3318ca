/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"
int link_uses(const struct device *dev, struct names *uses, struct error *e)
{
	(void)dev;
	(void)uses;
	(void)e;
	return 0;
}
