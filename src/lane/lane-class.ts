/**
 * What a private call is to the lane, the most urgent first: `own` are the proxy's own questions about an order, which
 * must not keep a cancel waiting; `change` amends and edits, `other` whatever is neither an order nor a read.
 */
export const LANE_CLASSES = ['cancel', 'own', 'change', 'order', 'other', 'read', 'history'] as const;

export type LaneClass = (typeof LANE_CLASSES)[number];

/** May use the reserve of the call counter. */
export function isUrgent(laneClass: LaneClass): boolean {
  return laneClass === 'own' || laneClass === 'cancel';
}
